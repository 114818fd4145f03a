"""Generations and their transitions; without HTTP and without waiting.

    queued ── queued s ──▶ dreaming ── dreaming s ──▶ completed | failed

A `Plan` says how long each state lasts and which terminal state follows. The owner of a `World`
passes it the time (`make_transitions`), and it makes every transition that is due, in order.
"""

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

Upstream = Literal["dream_machine", "agents"]
Outcome = Literal["completed", "failed"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The life of a generation. All times are in seconds."""

    queued: float = 0.5
    """Time in the state `queued`. Zero: it ends immediately, and a callback may come first."""
    dreaming: float = 2.0
    """Time in every other state before the terminal one."""
    outcome: Outcome = "completed"
    failure_reason: str | None = None
    """The failure reason if it fails; None: Luma's usual one."""
    failure_code: str | None = None
    """Agents API only; None: `generation_failed`."""
    progress_video: bool = False
    """Whether there is a partial video while the state is `dreaming`."""
    states: tuple[str, ...] = ("queued", "dreaming")
    """The states before the terminal one; unknown names are allowed."""

    def seconds_in(self, state: str) -> float:
        """Return how long `state` lasts."""
        return self.queued if state == "queued" else self.dreaming


@dataclass(slots=True, kw_only=True)
class Generation:
    """One generation, at some step of its plan."""

    id: str
    upstream: Upstream
    operation: str
    model: str
    request: Mapping[str, Any]
    """As Luma echoes it: with defaults, and null for what was not given."""
    plan: Plan
    created_at: datetime
    began: datetime
    """When its plan starts; before `created_at` if it was fast-forwarded."""
    step: int = 0

    @property
    def state(self) -> str:
        """The current state, as its upstream names it."""
        state = (*self.plan.states, self.plan.outcome)[self.step]
        return "processing" if self.upstream == "agents" and state == "dreaming" else state

    @property
    def terminal(self) -> bool:
        """Whether the state is terminal."""
        return self.step == len(self.plan.states)

    @property
    def due_at(self) -> datetime | None:
        """When the current state ends; None: never."""
        if self.terminal:
            return None
        passed = sum(self.plan.seconds_in(state) for state in self.plan.states[: self.step + 1])
        return self.began + timedelta(seconds=passed)


@dataclass(slots=True, kw_only=True)
class World:
    """All generations, and the order of their transitions."""

    default_plan: Plan = field(default_factory=Plan)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Substring of a prompt -> the plan of generations that are asked for with it."""
    _generations: dict[str, Generation] = field(default_factory=dict)
    _queue: list[tuple[datetime, int, Generation]] = field(default_factory=list)
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def create(
        self,
        upstream: Upstream,
        operation: str,
        model: str,
        request: Mapping[str, Any],
        *,
        now: datetime,
        generation_id: str | None = None,
        plan: Plan | None = None,
    ) -> Generation:
        """Create a generation in its first state.

        Raises:
            ValueError: the id is taken.
        """
        if generation_id in self._generations:
            raise ValueError(f"generation {generation_id} already exists")
        generation = Generation(
            id=generation_id or str(uuid4()),
            upstream=upstream,
            operation=operation,
            model=model,
            request=request,
            plan=plan or self.plan_for(request.get("prompt") or ""),
            created_at=now,
            began=now,
        )
        self._generations[generation.id] = generation
        self._schedule(generation)
        return generation

    def plan_for(self, prompt: str) -> Plan:
        """Return the first plan whose substring is in `prompt`, else the default."""
        return next(
            (plan for part, plan in self.plans.items() if part in prompt), self.default_plan
        )

    def find(self, generation_id: str, upstream: Upstream | None = None) -> Generation | None:
        """Return the generation with that id, if `upstream` (None: any) has it."""
        generation = self._generations.get(generation_id)
        if generation is None or upstream not in (None, generation.upstream):
            return None
        return generation

    def newest(self, upstream: Upstream) -> list[Generation]:
        """Return all generations of one upstream, newest first."""
        return [each for each in reversed(self._generations.values()) if each.upstream == upstream]

    def count_open(self, upstream: Upstream) -> int:
        """Count the generations of one upstream that are in no terminal state."""
        return sum(
            each.upstream == upstream and not each.terminal for each in self._generations.values()
        )

    def remove(self, generation: Generation) -> None:
        """Delete the generation; it makes no more transitions."""
        del self._generations[generation.id]

    def fast_forward(self, generation: Generation, seconds: float) -> None:
        """Let `seconds` pass for this generation only; `make_transitions` then applies it."""
        generation.began -= timedelta(seconds=seconds)
        self._schedule(generation)

    def next_due(self) -> datetime | None:
        """Return when the next transition is due; None: there is none."""
        while self._queue and not self._is_current(*self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def make_transitions(self, now: datetime) -> Iterator[Generation]:
        """Make the transitions due by `now`; yields the generation after each."""
        while (due := self.next_due()) is not None and due <= now:
            generation = heapq.heappop(self._queue)[2]
            generation.step += 1
            self._schedule(generation)
            yield generation

    def _schedule(self, generation: Generation) -> None:
        if (due := generation.due_at) is not None:
            heapq.heappush(self._queue, (due, next(self._serial), generation))

    def _is_current(self, due: datetime, _serial: int, generation: Generation) -> bool:
        """Whether an entry is valid: fast-forwarded and removed generations leave obsolete ones."""
        return self._generations.get(generation.id) is generation and generation.due_at == due
