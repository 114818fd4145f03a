"""The generations and what becomes of them: pure, without HTTP and without waiting.

    queued ── queued s ──▶ dreaming ── dreaming s ──▶ completed | failed

A `Plan` says how long each state lasts and how it ends. Whoever owns a `World` tells it what
time it is (`move`), and it makes every transition that is due by then, in order of time.
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
    """What becomes of a generation. All times are seconds."""

    queued: float = 0.5
    """Time in the state `queued`. Zero: it passes at once, and a callback may come first."""
    dreaming: float = 2.0
    """Time in every other state before the outcome."""
    outcome: Outcome = "completed"
    failure_reason: str | None = None
    """Luma's words when it fails; None: the usual ones."""
    failure_code: str | None = None
    """Agents API only; None: `generation_failed`."""
    progress_video: bool = False
    """Whether a partial video can be seen while it is dreaming."""
    states: tuple[str, ...] = ("queued", "dreaming")
    """The states before the outcome; names that nobody knows are welcome."""

    def seconds_in(self, state: str) -> float:
        """How long `state` lasts."""
        return self.queued if state == "queued" else self.dreaming


@dataclass(slots=True, kw_only=True)
class Generation:
    """One generation, somewhere along its plan."""

    id: str
    upstream: Upstream
    operation: str
    model: str
    request: Mapping[str, Any]
    """As Luma echoes it: defaults filled in, what was not given as null."""
    plan: Plan
    created_at: datetime
    began: datetime
    """Where its plan starts; before `created_at` when it was hurried."""
    step: int = 0

    @property
    def state(self) -> str:
        """The state it is in, in the words of its upstream."""
        state = (*self.plan.states, self.plan.outcome)[self.step]
        return "processing" if self.upstream == "agents" and state == "dreaming" else state

    @property
    def terminal(self) -> bool:
        """Whether it has reached its outcome."""
        return self.step == len(self.plan.states)

    @property
    def due_at(self) -> datetime | None:
        """When it leaves its present state; None: never."""
        if self.terminal:
            return None
        passed = sum(self.plan.seconds_in(state) for state in self.plan.states[: self.step + 1])
        return self.began + timedelta(seconds=passed)


@dataclass(slots=True, kw_only=True)
class World:
    """Every generation there is, and the order in which they move."""

    default_plan: Plan = field(default_factory=Plan)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Substring of a prompt -> the plan of generations that are asked for with it."""
    _generations: dict[str, Generation] = field(default_factory=dict)
    _agenda: list[tuple[datetime, int, Generation]] = field(default_factory=list)
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
        """A new generation in its first state; ValueError when the id is taken."""
        if generation_id in self._generations:
            raise ValueError(f"there is a generation {generation_id} already")
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
        """The first plan whose substring is in `prompt`, else the default."""
        return next(
            (plan for part, plan in self.plans.items() if part in prompt), self.default_plan
        )

    def find(self, generation_id: str, upstream: Upstream | None = None) -> Generation | None:
        """The generation of that id, if it is one of `upstream` (None: of any)."""
        generation = self._generations.get(generation_id)
        if generation is None or upstream not in (None, generation.upstream):
            return None
        return generation

    def newest(self, upstream: Upstream) -> list[Generation]:
        """All generations of one upstream, the last created first."""
        return [each for each in reversed(self._generations.values()) if each.upstream == upstream]

    def remove(self, generation: Generation) -> None:
        """Forget it; it moves no more."""
        del self._generations[generation.id]

    def hurry(self, generation: Generation, seconds: float) -> None:
        """Let `seconds` pass for this one generation alone; `move` then shows it."""
        generation.began -= timedelta(seconds=seconds)
        self._schedule(generation)

    def next_due(self) -> datetime | None:
        """When the next transition is due; None: nothing moves any more."""
        while self._agenda and not self._holds(*self._agenda[0]):
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def move(self, now: datetime) -> Iterator[Generation]:
        """Make what is due by `now`; yields the generation after each single transition."""
        while (due := self.next_due()) is not None and due <= now:
            generation = heapq.heappop(self._agenda)[2]
            generation.step += 1
            self._schedule(generation)
            yield generation

    def _schedule(self, generation: Generation) -> None:
        if (due := generation.due_at) is not None:
            heapq.heappush(self._agenda, (due, next(self._serial), generation))

    def _holds(self, due: datetime, _serial: int, generation: Generation) -> bool:
        """Whether an entry still stands: hurried and removed generations leave dead ones behind."""
        return self._generations.get(generation.id) is generation and generation.due_at == due
