"""S3 stores: aiobotocore on trio. The only package that imports aiobotocore, botocore and httpx."""

from vfs.store.s3.endpoint import with_endpoint
from vfs.store.s3.location import Location
from vfs.store.s3.store import S3Store

__all__ = ["Location", "S3Store", "with_endpoint"]
