"""The one place where what botocore, httpx and S3 call an error becomes one of ours.

S3's codes: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. A HEAD has no body, and then botocore
gives the HTTP status as the code.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from botocore import exceptions as boto

from vfs.errors import (
    AttributesTooBig,
    ConfigError,
    KeyRefused,
    ObjectNotFound,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreThrottled,
    StoreTimeout,
    StoreUnavailable,
    UploadNotFound,
    VfsError,
)

FOREIGN = (boto.BotoCoreError, boto.ClientError, httpx2.HTTPError, httpx2.StreamError, OSError)
"""Everything that a call can raise and that `translated` understands."""


class RangeRefused(StoreError):
    """416: the object has no byte at or after the start that was asked for."""


_PLAIN: Mapping[str, type[VfsError]] = {
    "NoSuchKey": ObjectNotFound,
    "NoSuchVersion": ObjectNotFound,
    "404": ObjectNotFound,
    "NoSuchUpload": UploadNotFound,
    "PreconditionFailed": PreconditionFailed,
    "412": PreconditionFailed,
    "InvalidRange": RangeRefused,
    "416": RangeRefused,
    "KeyTooLongError": KeyRefused,
    "KeyTooLong": KeyRefused,
    "InvalidKey": KeyRefused,
    "InvalidURI": KeyRefused,
    "InvalidObjectName": KeyRefused,
    "XMinioInvalidObjectName": KeyRefused,
    "MetadataTooLarge": AttributesTooBig,
    "QuotaExceeded": StoreFull,
    "XMinioStorageFull": StoreFull,
    "XMinioAdminBucketQuotaExceeded": StoreFull,
    "507": StoreFull,
}

_THROTTLED = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "429",
}

_LATER = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "ConditionNotMet",
}
"""Answers with a 4xx status among them that the same request may not get again: damaged or cut off on its way."""

_DENIED = {
    "AccessDenied": "the store forbids this: give this user the right to it, or check the bucket's policy",
    "403": "the store forbids this: check the credentials, and the rights of this user in the bucket",
    "401": "the store wants other credentials",
    "AllAccessDisabled": "the bucket is switched off",
    "AccountProblem": "there is a problem with the account, see its console",
    "InvalidAccessKeyId": "the store does not know this access key: correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong: correct AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session token has expired: get new credentials",
    "ExpiredTokenException": "the session token has expired: get new credentials",
    "TokenRefreshRequired": "the session token must be renewed: get new credentials",
    "InvalidToken": "the session token is not valid: get new credentials",
    "InvalidClientTokenId": "the access key or its session token is not valid: get new credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it, e.g. with chrony",
    "RequestExpired": "this machine's clock is wrong: set it, e.g. with chrony",
    "InvalidObjectState": "the object is archived (Glacier): restore it first",
}

_PLACE = {
    "NoSuchBucket": "there is no such bucket: create it, or correct the store's URL",
    "InvalidBucketName": "the store refuses this bucket's name: correct the store's URL",
    "NotImplemented": "the store cannot do this",
    "501": "the store cannot do this",
    "405": "the store refuses this method: is the endpoint an S3 service?",
}

_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307", "308"}


def translated(error: Exception, what: str) -> VfsError:
    """Our error for a foreign one; `what` names the call and the key, e.g. `PutObject 'a/b'`."""
    if isinstance(error, boto.ClientError):
        return _answered(error, what)
    return _unanswered(error, what)


def status_of(error: Exception) -> int:
    """The HTTP status of an error answer, 0 where there was none."""
    if not isinstance(error, boto.ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answered(error: boto.ClientError, what: str) -> VfsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
    status = status_of(error)
    headers: Mapping[str, str] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = f"{what}: {code or status}"
    if code in _PLAIN:
        return _PLAIN[code](f"{told}: {message}" if message else told)
    if code in _DENIED:
        return StoreDenied(f"{told}: {_DENIED[code]}{_skew(code, headers)}")
    if code in _PLACE:
        return StoreError(f"{told}: {_PLACE[code]}")
    if code in _ELSEWHERE:
        return StoreError(f"{told}: {_right_region(error, headers)}")
    wait = _retry_after(headers)
    if code in _THROTTLED or status == 429:
        return StoreThrottled(f"{told}: {message}", retry_after=wait, uncertain=False)
    if status == 503:
        return StoreUnavailable(f"{told}: {message}", retry_after=wait)
    if code in _LATER or status >= 500:
        return StoreUnavailable(f"{told}: {message}", retry_after=wait)
    if status in (401, 403):
        return StoreDenied(f"{told}: {message}")
    return StoreError(f"{told}: {message}")


def _skew(code: str, headers: Mapping[str, str]) -> str:
    if not code.startswith("RequestTime") or not headers.get("date"):
        return ""
    return f" (the store's is {headers['date']})"


def _right_region(error: boto.ClientError, headers: Mapping[str, str]) -> str:
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    if region:
        return f"the bucket is in region {region}: add region={region} to the store's URL"
    endpoint = error.response.get("Error", {}).get("Endpoint") or headers.get("location")
    where = f" at {endpoint}" if endpoint else " in another region or at another endpoint"
    return f"the bucket is{where}: correct region= or endpoint= in the store's URL"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds: the header has either these or a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _unanswered(error: Exception, what: str) -> VfsError:
    chain = list(_chain(error))
    certificate = next((one for one in chain if isinstance(one, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return StoreDenied(
            f"{what}: the store's TLS certificate cannot be trusted ({certificate.verify_message}): "
            "correct the endpoint, or add ca_bundle=/file.pem to the store's URL"
        )
    if isinstance(error, _CREDENTIALS):
        return StoreDenied(f"{what}: {_credentials(error)}")
    if isinstance(error, _SETTINGS):
        return ConfigError(f"store: {' '.join(str(error).split())}")
    if any(isinstance(one, socket.gaierror) for one in chain):
        return StoreUnavailable(
            f"{what}: the host name of {_endpoint(error)} is not known: correct endpoint= in the store's URL, or "
            "this machine's DNS",
            uncertain=False,
        )
    if isinstance(error, boto.ConnectTimeoutError):
        return StoreUnavailable(f"{what}: no connection to {_endpoint(error)} in time", uncertain=False)
    refused = isinstance(error, (boto.EndpointConnectionError, boto.ProxyConnectionError))
    if any(isinstance(one, ssl.SSLError) for one in chain):
        return StoreUnavailable(
            f"{what}: TLS failed: {_root(chain)}: is the endpoint https?", uncertain=False
        )
    if isinstance(error, (boto.ReadTimeoutError, httpx2.ReadTimeout)):
        return StoreTimeout(f"{what}: no answer in time")
    if isinstance(error, _NETWORK) or refused:
        reach = f"{_endpoint(error)} cannot be reached" if refused else "the connection broke"
        return StoreUnavailable(f"{what}: {reach}: {_root(chain)}", uncertain=not refused)
    return StoreError(f"{what}: {' '.join(str(error).split())[:300]}")


_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
    boto.InvalidConfigError,
    boto.UnauthorizedSSOTokenError,
    boto.SSOTokenLoadError,
    boto.TokenRetrievalError,
)
_SETTINGS = (boto.ProfileNotFound, boto.NoRegionError, boto.ConfigParseError, boto.ConfigNotFound)
_NETWORK = (boto.HTTPClientError, boto.ResponseStreamingError, httpx2.HTTPError, httpx2.StreamError, OSError)


def _endpoint(error: Exception) -> str:
    parts = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    return (
        f"{parts.scheme}://{parts.hostname}:{parts.port}"
        if parts.port
        else f"{parts.scheme}://{parts.hostname}"
    )


def _credentials(error: Exception) -> str:
    if isinstance(error, boto.NoCredentialsError):
        return (
            "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, add profile=NAME to the "
            "store's URL, or give this machine a role"
        )
    return " ".join(str(error).split())[:300]


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what led to it; botocore keeps some of it in `kwargs`."""
    found: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        one = queue.pop(0)
        if not isinstance(one, BaseException) or one in found:
            continue
        found.append(one)
        queue += [one.__cause__, one.__context__, getattr(one, "kwargs", {}).get("error")]
        queue += getattr(one, "exceptions", ())
    return found


def _root(chain: list[BaseException]) -> str:
    """The shortest telling text: the operating system's where there is one."""
    for one in reversed(chain):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    for one in reversed(chain):
        if text := " ".join(str(one).split()):
            return text[:200]
    return type(chain[0]).__name__
