"""The manifest of an exported vault: RO-Crate 1.1, which is JSON-LD with the words of schema.org.

It names each file, the list, version, user and session behind it, and which files a session had read.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tablevault_pd.transfer.formats import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tablevault_pd.store import Session, Store, Version

MANIFEST = "ro-crate-metadata.json"
#: The words of RO-Crate 1.1, and one of schema.org that it lacks.
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
_PROFILE = "https://w3id.org/ro/crate/1.1"
_LICENSE = {
    "@id": "#license",
    "@type": "CreativeWork",
    "name": "Not stated",
    "description": "A vault keeps no licence. Ask who exported it how its content may be used.",
}
_ABOUT = {
    "lists": "The lists of the vault",
    "versions": "All versions of the lists",
    "sessions": "Sessions: who ran what, with which parameters",
    "cells": "The code that sessions executed",
    "sources": "The project modules that sessions had imported",
    "descriptions": "What was said about lists and sessions",
    "graph": "Which version was made from which",
    "metrics": "Every logged value",
    "lineage": "The direct parents of every row",
    "index": "Which list is in which file",
}


def write_manifest(store: Store, folder: Path, lists: Mapping[str, Version]) -> None:
    """Describe the files of `folder`; `lists` says which version of which list is in which."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    sessions = store.sessions()
    entities = [
        _descriptor(),
        _root(store, [path.name for path in files], sessions),
        _LICENSE,
        *(_file(path, lists.get(path.name)) for path in files),
        *(_person(user) for user in sorted({session.user for session in sessions})),
        *_actions(store, sessions, lists),
    ]
    document = {"@context": _CONTEXT, "@graph": entities}
    (folder / MANIFEST).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def _descriptor() -> dict[str, Any]:
    return {
        "@id": MANIFEST,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _PROFILE},
    }


def _root(store: Store, names: list[str], sessions: list[Session]) -> dict[str, Any]:
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Vault {store.vault_id}",
        "description": "The lists of a vault of tablevault_pd at their newest versions, with code, lineage, metrics and sessions.",
        "identifier": store.vault_id,
        "datePublished": datetime.now(UTC).isoformat(),
        "license": {"@id": _LICENSE["@id"]},
        **_link("author", sorted({_user_id(session.user) for session in sessions})),
        **_link("hasPart", names),
    }


def _link(label: str, ids: list[str]) -> dict[str, Any]:
    """Return a property that names other entities: none, one, or a list, as RO-Crate recommends."""
    links = [{"@id": name} for name in ids]
    return {label: links if len(links) > 1 else links[0]} if links else {}


def _file(path: Path, version: Version | None) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    entity = {
        "@id": path.name,
        "@type": "File",
        "name": _ABOUT.get(path.stem, path.name),
        "encodingFormat": MEDIA_TYPES[path.suffix[1:]],
        "contentSize": str(path.stat().st_size),
        "sha256": digest,
    }
    if version is None:
        return entity
    return entity | {
        "name": version.list,
        "version": str(version.version),
        "dateModified": version.time.isoformat(),
        "description": f"{version.shown} rows",
    }


def _person(user: str) -> dict[str, Any]:
    return {"@id": _user_id(user), "@type": "Person", "name": user}


def _user_id(user: str) -> str:
    return "#user-" + hashlib.sha256(user.encode()).hexdigest()[:16]


def _actions(store: Store, sessions: list[Session], lists: Mapping[str, Version]) -> list[dict[str, Any]]:
    """Return for each session that made a file what it read and made."""
    names = {(version.list_id, version.version): name for name, version in lists.items()}
    made: dict[int, list[str]] = {}
    for name, version in lists.items():
        if version.session_id is not None:
            made.setdefault(version.session_id, []).append(name)
    read: dict[int, set[str]] = {}
    for edge in store.edge_summaries():
        parent = names.get((edge.parent_list, edge.parent_version))
        if parent is not None and edge.session_id is not None:
            read.setdefault(edge.session_id, set()).add(parent)
    return [
        {
            "@id": f"#session-{session.id}",
            "@type": "CreateAction",
            "name": session.label,
            "agent": {"@id": _user_id(session.user)},
            "startTime": session.started.isoformat(),
            **({} if session.ended is None else {"endTime": session.ended.isoformat()}),
            **_link("object", sorted(read.get(session.id, ()))),
            **_link("result", sorted(made[session.id])),
        }
        for session in sessions
        if session.id in made
    ]
