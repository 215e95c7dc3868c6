"""An S3-compatible service (moto) with its authentication on: it checks signatures and policies."""

from typing import Any

import boto3
import requests
from moto.server import ThreadedMotoServer

from storage.drivers import Backend

ACTIONS_BEFORE_AUTHENTICATION = "4"  # the user, its policy, its key, the bucket
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


class S3Service:
    """A bucket `shelf` and one access key. What moto keeps is the process's: one service at a time."""

    bucket = "shelf"

    def __init__(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        requests.post(f"{self.url}/moto-api/reset", timeout=10)
        self.authenticate(ACTIONS_BEFORE_AUTHENTICATION)
        anybody = {"region_name": "us-east-1", "endpoint_url": self.url}
        anybody |= {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
        iam: Any = boto3.client("iam", **anybody)
        iam.create_user(UserName="waule")
        iam.put_user_policy(UserName="waule", PolicyName="all", PolicyDocument=POLICY)
        key = iam.create_access_key(UserName="waule")["AccessKey"]
        s3: Any = boto3.client("s3", **anybody)
        s3.create_bucket(Bucket=self.bucket)
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]

    @property
    def backend(self) -> Backend:
        return Backend("s3", "us-east-1", self.bucket, self.url, self.key_id, self.secret)

    def authenticate(self, after: str) -> None:
        """Checks signatures and policies after so many calls; `inf`: never."""
        requests.post(f"{self.url}/moto-api/reset-auth", data=after, timeout=10)

    def open(self, url: str, **headers: str) -> requests.Response:
        """What anybody gets at a signed URL: moto cannot check a signature in the query."""
        self.authenticate("inf")
        answer = requests.get(url, headers=headers, timeout=10)
        self.authenticate("0")
        return answer

    def stop(self) -> None:
        self.authenticate("inf")
        self.server.stop()
