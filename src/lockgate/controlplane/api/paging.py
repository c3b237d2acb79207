"""Lists in pages: a page, and where the next one starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel


class Identified(Protocol):
    """Knows its own id."""

    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=Identified)
M = TypeVar("M")


class Page(BaseModel, Generic[M]):
    """Some records, and the ``after`` of the next page when there is one."""

    items: list[M]
    next: str | None = None


#: How many records a page holds.
Limit = Annotated[int, Query(ge=1, le=200, description="how many to give at most")]
#: The id of the record that the page starts behind.
After = Annotated[str | None, Query(max_length=200, description="the `next` of the page before")]

DEFAULT_LIMIT = 50


def records_page(records: Sequence[R], limit: int) -> Page[R]:
    """As `page_of`, of records that are shown as they are."""
    return page_of(records, limit, lambda record: record)


def page_of(records: Sequence[R], limit: int, shown: Callable[[R], M]) -> Page[M]:
    """A page from one record more than it holds: ask the store for ``limit + 1``."""
    here = records[:limit]
    return Page(items=[shown(record) for record in here], next=here[-1].id if len(records) > limit else None)
