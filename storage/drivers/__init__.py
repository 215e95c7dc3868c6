"""Where files lie: a folder of this machine, an S3-compatible bucket, or one of Alibaba Cloud OSS.

`driver_of(backend)` gives the one that speaks to a backend. All of them do the same six things (`base.Driver`).
"""

from functools import lru_cache

from storage.drivers.base import Backend, Driver

LOCAL = "local"
MAX_KEPT = 64  # clients kept ready, the longest unused goes first


@lru_cache(maxsize=MAX_KEPT)
def driver_of(backend: Backend) -> Driver:
    """Return the driver of a backend. The SDKs take long to load: one is imported when a place needs it.

    Raises:
        BucketProblem: a setting of the backend is missing.
    """
    if backend.driver == "s3":
        from storage.drivers.s3 import S3Driver

        return S3Driver(backend)
    if backend.driver == "oss":
        from storage.drivers.oss import OssDriver

        return OssDriver(backend)
    from storage.drivers.local import LocalDriver

    return LocalDriver()


__all__ = ["LOCAL", "Backend", "Driver", "driver_of"]
