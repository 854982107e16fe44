"""Files fetched from the web: checked against a known checksum, whole or not at all.

The bytes go to a temporary file beside the target and take its name only once their checksum is right, so an
interrupted or failed download leaves neither half a file nor a wrong one, and can simply be started again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vbpi_mix import leftovers
from vbpi_mix.errors import VbpiMixError
from vbpi_mix.files import digest_of

OFFLINE_VARIABLE = "VBPI_MIX_OFFLINE"
ATTEMPTS = 3
SECONDS_BETWEEN_ATTEMPTS = 0.5
_TIMEOUT_SECONDS = 30


class DownloadError(VbpiMixError):
    """A file cannot be downloaded, or what arrived is not the file that was asked for."""


def is_offline(offline: bool = False) -> bool:
    """Whether downloads are forbidden: by the argument, or by VBPI_MIX_OFFLINE (unset, 0, no, false: not)."""
    return offline or os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "no", "false")


def download(urls: Sequence[str], target: Path, checksum: str) -> None:
    """Make `target` the file with this checksum, from the first of the places that gives it: a SHA-256, or "md5:" and an MD5
    sum where nothing else is published.

    An existing file with that checksum is kept. A place that does not answer or breaks off is tried
    ATTEMPTS times. On a terminal a progress bar is shown. Raises DownloadError, in one line with the reason
    of every place, if none gives the file; `target` is then as it was.
    """
    wanted = checksum if ":" in checksum else f"sha256:{checksum}"
    algorithm, _, digest = wanted.partition(":")
    if target.is_file() and digest_of(target, algorithm) == digest:
        return
    made = _make_folder(target.parent)
    reasons = []
    for url in urls:
        reason = _try_place(url, target, wanted)
        if reason is None:
            return
        reasons.append(f"{urlsplit(url).netloc or url}: {reason}")
    _remove_empty(made)
    raise DownloadError(f"{target.name} cannot be downloaded ({'; '.join(dict.fromkeys(reasons))})")


def _try_place(url: str, target: Path, checksum: str) -> str | None:
    """None if the file is there now; else the reason why not."""
    import requests

    for attempt in range(1, ATTEMPTS + 1):
        try:
            _retrieve(url, target, checksum)
            return None
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            reason = "no such file there (404)" if code == 404 else f"the server answered {code}"
            if code != 429 and code < 500:
                return reason
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            reason = "the connection was cut before the file was whole"
        except requests.Timeout:
            reason = f"no answer within {_TIMEOUT_SECONDS} seconds"
        except requests.ConnectionError:
            reason = "no connection"
        except requests.RequestException as error:
            return f"the request failed ({type(error).__name__})"
        except OSError as error:
            raise DownloadError(f"{target}: cannot be written ({error.strerror or error})") from None
        except ValueError:
            return "what arrived is another file (wrong checksum)"
        if attempt < ATTEMPTS:
            time.sleep(SECONDS_BETWEEN_ATTEMPTS * attempt)
    return reason


def _retrieve(url: str, target: Path, checksum: str) -> None:
    """One attempt; raises what requests raises, ValueError on a wrong checksum, OSError on a bad disk."""
    import pooch
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")
    visible = sys.stderr.isatty()
    # The bar has a total from the start, or asking whether there is a bar would be an error.
    with tqdm(desc=target.name, total=1, unit="B", unit_scale=True, leave=False, disable=not visible) as bar:
        fetch = pooch.HTTPDownloader(progressbar=bar if visible else False, timeout=_TIMEOUT_SECONDS)
        leftovers.sweep(target.parent, target.name)
        hidden, lock = leftovers.new_folder(target.parent, target.name)
        try:
            pooch.retrieve(url, checksum, fname=target.name, path=hidden, downloader=fetch)
            leftovers.move_in(hidden / target.name, target)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            lock.release()


def _make_folder(folder: Path) -> list[Path]:
    """Make the folder; the folders that were missing, innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{folder}: the folder cannot be made ({error.strerror})") from None
    return missing


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
