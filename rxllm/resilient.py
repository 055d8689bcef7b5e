"""A model made of models: tried again, guarded, and replaced by others when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack, cast

from reactivex import Observable, abc

from .errors import ConfigurationError
from .events import TokenEvent
from .messages import Message
from .model import StreamingModel
from .operators.resilience.circuit_breaker import CircuitBreaker
from .operators.resilience.fallback import fallback_to, retry_transient
from .operators.resilience.recover import Ask, RecoverMode, recover
from .options import CallOptions
from .prompt import Prompt, messages_of
from .providers._prefix import PrefixForm, prefix_form, providers_with_prefix


def resilient_model(
    primary: StreamingModel,
    fallbacks: Sequence[StreamingModel] = (),
    *,
    max_retries: int = 2,
    circuit_breaker: CircuitBreaker | bool = False,
    recover: RecoverMode | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> ResilientModel:
    """A model that asks `primary`, and where that cannot answer, each of `fallbacks` in turn.

    What an error leads to is its class (`rxllm.operators.error_class`): "retry" asks the same model
    again, at most `max_retries` times, and then the next; "next" asks the next at once; "raise" goes
    to the user. All of that happens before the first content event. What comes after is for `recover`:
    "restart" begins the answer again, with a `StreamReset`; "continue" goes on from the text so far, on
    the first of the models whose provider allows it (see `continuing`). See `rxllm.operators.recover`.

    With a `circuit_breaker`, a model that keeps failing is passed over for a while. The one given guards
    `primary`; each fallback has one of its own with the same settings; True stands for the defaults.

    Options of a call are for all models, but for `model=`, which is for `primary`. One that any of
    them cannot honour is refused at once. `max_retries` takes the place of the models' own. Waits run
    on `scheduler`, else on timer threads. `close` closes all of the models.
    """
    models = (primary, *fallbacks)
    if recover == "continue" and all(prefix_form(model.provider, model.model) is None for model in models):
        raise _cannot_continue(*models)
    breakers = _breakers(circuit_breaker, len(models))
    return ResilientModel(models, breakers, max_retries, recover, scheduler)


def continuing(asked: StreamingModel, /, **options: Unpack[CallOptions]) -> Ask:
    """How a model is asked to go on with an answer, for `rxllm.operators.recover("continue", ...)`.

    Only some providers let an answer be continued: Anthropic (Claude up to 4.5, and it does not think
    then), DeepSeek (on base_url="https://api.deepseek.com/beta"), Gemini (up to 3.1), Groq, llama.cpp and
    the embedded model, Mistral, Ollama, OpenRouter (where the model behind it does), and vLLM (whose
    `extra_body` of the model is replaced). Raises `ConfigurationError` for all others, OpenAI among them.

    ::

        answer = model.stream(prompt).pipe(ops.recover("continue", continuing(model), prompt))
    """
    form = prefix_form(asked.provider, options.get("model", asked.model))
    if form is None:
        raise _cannot_continue(asked)

    def ask(messages: Sequence[Message]) -> Observable[TokenEvent]:
        if not messages or messages[-1].role != "assistant":
            return asked.stream(messages, **options)
        return asked.stream((*messages[:-1], form.marked(messages[-1])), **_prefix_options(form, options))

    return ask


class ResilientModel(StreamingModel):
    """See `resilient_model`. Its name is the first model's; a response names the model that gave it."""

    def __init__(
        self,
        models: Sequence[StreamingModel],
        breakers: Sequence[CircuitBreaker],
        max_retries: int,
        recover: RecoverMode | None,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        self.provider = models[0].provider
        self.model = models[0].model
        self.models = tuple(models)
        """The models, in the order they are asked."""
        self.breakers = tuple(breakers)
        """Their circuit breakers, one each; none without."""
        self._max_retries = max_retries
        self._recover: RecoverMode | None = recover
        self._scheduler = scheduler

    def __repr__(self) -> str:
        return f"<ResilientModel {', '.join(f'{model.provider}:{model.model}' for model in self.models)}>"

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """The answer of the first model that has one, as `resilient_model` was told to find it."""
        messages = messages_of(prompt)
        events = self._asked(messages, options)
        if self._recover is None:
            return events

        def ask(given: Sequence[Message]) -> Observable[TokenEvent]:
            return self._asked(given, options, goes_on=given != messages)

        return recover(self._recover, ask, messages, scheduler=self._scheduler)(events)

    def close(self) -> None:
        """Close the idle connections of all the models."""
        for model in self.models:
            model.close()

    def _asked(
        self, messages: Sequence[Message], options: CallOptions, *, goes_on: bool = False
    ) -> Observable[TokenEvent]:
        """The answer of the first model that gives one; of those that can go on with one, where it `goes_on`."""
        streams = [
            stream for place in range(len(self.models)) if (stream := self._stream(place, messages, options, goes_on))
        ]
        if not streams:
            raise _cannot_continue(*self.models)
        return fallback_to(*streams[1:])(streams[0]) if len(streams) > 1 else streams[0]

    def _stream(
        self, place: int, messages: Sequence[Message], options: CallOptions, goes_on: bool
    ) -> Observable[TokenEvent] | None:
        model = self.models[place]
        call = cast("CallOptions", {**options, "max_retries": 0})
        if place:
            call.pop("model", None)
        if not goes_on:
            stream = model.stream(messages, **call)
        elif prefix_form(model.provider, call.get("model", model.model)):
            stream = continuing(model, **call)(messages)
        else:
            return None
        tried = retry_transient(options.get("max_retries", self._max_retries), scheduler=self._scheduler)(stream)
        return self.breakers[place](tried) if self.breakers else tried


def _breakers(given: CircuitBreaker | bool, count: int) -> list[CircuitBreaker]:
    if given is False:
        return []
    first = CircuitBreaker() if given is True else given
    return [first, *(first.fresh() for _ in range(count - 1))]


def _prefix_options(form: PrefixForm, options: CallOptions) -> CallOptions:
    """The options of a call that continues an answer."""
    call = options.copy()
    if form.body_fields is not None:
        call["extra_body"] = {**(options.get("extra_body") or {}), **form.body_fields}
    if not form.thinks:
        call["reasoning"] = None
    return call


def _cannot_continue(*models: StreamingModel) -> ConfigurationError:
    names = ", ".join(f"{model.provider}:{model.model}" for model in models)
    return ConfigurationError(
        f'an answer of {names} cannot be continued: recover="restart" begins it again. '
        f"Providers that allow it, for some models: {', '.join(providers_with_prefix())}"
    )
