"""Where files lie: a folder of this machine, an S3-compatible bucket, or one of Alibaba Cloud OSS.

`driver_of(place)` gives the one that speaks to a place. All of them do the same six things (`base.Driver`).
"""

from functools import lru_cache

from storage.drivers.base import Driver, Place

LOCAL = "local"
MAX_KEPT = 64  # clients kept ready, the longest unused goes first


@lru_cache(maxsize=MAX_KEPT)
def driver_of(place: Place) -> Driver:
    """The driver of a place. The SDKs take long to load: one is imported when a place needs it.

    Raises:
        BucketProblem: a setting of the place is missing.
    """
    if place.driver == "s3":
        from storage.drivers.s3 import S3Driver

        return S3Driver(place)
    if place.driver == "oss":
        from storage.drivers.oss import OssDriver

        return OssDriver(place)
    from storage.drivers.local import LocalDriver

    return LocalDriver()


__all__ = ["LOCAL", "Driver", "Place", "driver_of"]
