"""Kafka's jars from Maven Central, fetched once into the user's cache.

Nothing half-fetched is ever taken for whole: a file gets its name when its checksum has been compared, and
the list of jars is written when all of them are there. An interrupted fetch goes on where it stopped; of two
at once the second waits and finds everything there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from profilestream.core.errors import ServerUnavailable
from profilestream.local.locks import locked

KAFKA_VERSION = "4.1.0"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka brings log4j 2.24.3, but nothing that joins slf4j 1.7 to it: without this there would be no log. It is
# taken alone: resolved together with Kafka, its parent's version list would replace Kafka's own client jar.
_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3")
_CENTRAL = "https://repo.maven.apache.org/maven2"
_TIMEOUT_S = 30
_AT_ONCE = 4

Report = Callable[[str], None]


def cache() -> Path:
    """The folder for what is fetched: `$XDG_CACHE_HOME/profilestream`, else `~/.cache/profilestream`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "profilestream"


def kafka_jars(report: Report) -> list[Path]:
    """Every jar that a Kafka broker needs, fetched if this is the first time.

    Raises ServerUnavailable without network, or without the package jgo.
    """
    listing = cache() / f"kafka-{KAFKA_VERSION}.json"
    if jars := _listed(listing):
        return jars
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / "fetch.lock", lambda: report("Another process fetches Kafka; waiting for it")):
        if jars := _listed(listing):
            return jars
        jars = _fetch(report)
        sizes = {str(jar.relative_to(cache())): jar.stat().st_size for jar in jars}
        part = listing.with_suffix(".part")
        part.write_text(json.dumps(sizes, indent=1))
        part.replace(listing)
    return jars


def _listed(listing: Path) -> list[Path]:
    """The jars of a finished fetch; empty when there was none or one of its files is gone or cut."""
    try:
        sizes: dict[str, int] = json.loads(listing.read_text())
        whole = all((cache() / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, ValueError):
        return []
    return [cache() / name for name in sizes] if whole else []


def _fetch(report: Report) -> list[Path]:
    try:
        maven, parse = importlib.import_module("jgo.maven"), importlib.import_module("jgo.parse")
    except ImportError:
        raise ServerUnavailable(
            "Kafka's packages are fetched by jgo, which is not installed: pip install 'profilestream[local]'"
        ) from None
    report(f"Fetching Kafka {KAFKA_VERSION} from Maven Central (45 MB, once)")
    context = maven.MavenContext(
        resolver=_resolver(maven.PythonResolver),
        repo_cache=cache() / "maven",
        local_repos=[],
        remote_repos={"central": _CENTRAL},
        timeout=_TIMEOUT_S,
    )
    try:
        asked = [context.create_dependency(parse.Coordinate.parse(_KAFKA))]
        inputs, others = context.resolver.resolve(asked)
        artifacts = [found.artifact for found in inputs]
        artifacts += [found.artifact for found in others if found.scope in ("compile", "runtime")]
        group, name, version = _LOGGING
        artifacts.append(context.project(group, name).at_version(version).artifact())
        return _download(artifacts, report)
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo raises RuntimeError
        raise ServerUnavailable(
            f"Kafka's packages could not be fetched from {_CENTRAL} ({_short(error)}).\n"
            "Check the network (HTTPS_PROXY is obeyed) and try again: what has come already is kept. "
            "Or name servers that run with --kafka and --redis."
        ) from None


def _download(artifacts: list[Any], report: Report) -> list[Path]:
    """Download what is missing, a few at a time; the jars in the order in which they were asked for."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")
    try:
        waiting = [pool.submit(artifact.resolve) for artifact in artifacts]
        for done, future in enumerate(as_completed(waiting), start=1):
            future.result()
            if done % 10 == 0 or done == len(waiting):
                report(f"Fetching Kafka {KAFKA_VERSION}: {done} of {len(waiting)} packages")
        return [Path(future.result()) for future in waiting]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _resolver(base: Any) -> Any:
    """jgo's resolver, which alone writes straight to the final name and only warns of a wrong checksum."""
    requests = importlib.import_module("requests")  # comes with jgo

    class CheckedResolver(base):  # type: ignore[misc]
        def download(self, artifact: Any) -> Path:
            target = Path(artifact.cached_path)
            url = f"{_CENTRAL}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
            checksum = requests.get(f"{url}.sha1", timeout=_TIMEOUT_S)
            checksum.raise_for_status()
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            digest = hashlib.sha1(usedforsecurity=False)
            with requests.get(url, stream=True, timeout=_TIMEOUT_S) as response, part.open("wb") as file:
                response.raise_for_status()
                for chunk in response.iter_content(256 * 1024):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != checksum.text.split()[0].lower():
                part.unlink()
                raise RuntimeError(f"{artifact.filename} came with a wrong checksum")
            part.replace(target)
            return target

    return CheckedResolver()


def _short(error: BaseException) -> str:
    """One line; of a connection's error only its name, since its text is a page of wrapped errors."""
    requests = importlib.import_module("requests")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return type(error).__name__
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 200 else text[:200] + "..."
