"""A model that consists of models: retries, circuit breakers, and fallbacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack, cast

from reactivex import Observable, abc

from ._arguments import check_arguments
from .errors import ConfigurationError
from .events import TokenEvent
from .messages import Message
from .model import StreamingModel
from .operators.resilience.circuit_breaker import CircuitBreaker
from .operators.resilience.fallback import fallback_to, retry_transient
from .operators.resilience.recover import Ask, RecoverMode, recover
from .options import CallOptions
from .prompt import Prompt, messages_of
from .providers.vendors import PrefixForm, prefix_form, providers_with_prefix

__all__ = ["ResilientModel", "continuing", "resilient_model"]


@check_arguments
def resilient_model(
    primary: StreamingModel,
    fallbacks: Sequence[StreamingModel] = (),
    *,
    max_retries: int = 2,
    circuit_breaker: CircuitBreaker | bool = False,
    recover: RecoverMode | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> ResilientModel:
    """Return a model that asks `primary`, and if that fails, each of `fallbacks` in order.

    The class of an error (`rxllm.operators.error_class`) decides what follows it: "retry" asks the same model again,
    at most `max_retries` times, then the next one; "next" asks the next one immediately; "raise" ends the stream. All
    of that happens before the first content event; later errors are for `recover`.

    The options of a call apply to all models, except `model=`, which applies to `primary`. An option that one of the
    models does not support raises immediately. `close` closes all models.

    Args:
        primary: The model to ask first.
        fallbacks: The models to ask after it, in order.
        max_retries: Further attempts with each model; replaces the models' own setting.
        circuit_breaker: Skip a model that keeps failing for a while. The given breaker guards `primary`; each
            fallback gets its own with the same settings. True: the default settings.
        recover: What follows an error after the first content event. "restart": the answer begins again, after a
            `StreamReset`. "continue": the first model whose provider allows it continues the text (see
            `continuing`). None: the stream ends with the error. See `rxllm.operators.recover`.
        scheduler: Runs the delays; default: timer threads.

    Returns:
        The combined model; its name is that of `primary`.

    Raises:
        ConfigurationError: `recover` is "continue", and no provider of the models allows it.
    """
    models = (primary, *fallbacks)
    if recover == "continue" and all(prefix_form(model.provider, model.model) is None for model in models):
        raise _cannot_continue(*models)
    breakers = _breakers(circuit_breaker, len(models))
    return ResilientModel(models, breakers, max_retries, recover, scheduler)


def continuing(asked: StreamingModel, /, **options: Unpack[CallOptions]) -> Ask:
    """Return a function that asks a model to continue an answer, for `rxllm.operators.recover("continue", ...)`.

    These providers can continue an answer: Anthropic (Claude up to 4.5, without thinking), DeepSeek (at
    base_url="https://api.deepseek.com/beta"), Gemini (up to 3.1), Groq, llama.cpp and the embedded model, Mistral,
    Ollama, OpenRouter (if the model behind it can), and vLLM (the model's `extra_body` is replaced).

    Args:
        asked: The model to ask.
        options: Options of `create_streaming_model` to override for these calls.

    Raises:
        ConfigurationError: The provider cannot continue an answer; OpenAI is one of those.

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


@dataclass(eq=False, repr=False)
class ResilientModel(StreamingModel):
    """The model that `resilient_model` returns. A response names the model that gave it.

    Args:
        models: The models, in the order in which they are tried.
        breakers: Their circuit breakers, one for each; empty: none.
        max_retries: Further attempts with each model.
        recovery: What follows an error after the first content event.
        scheduler: Runs the delays.
    """

    models: tuple[StreamingModel, ...]
    breakers: tuple[CircuitBreaker, ...]
    max_retries: int
    recovery: RecoverMode | None
    scheduler: abc.SchedulerBase | None

    def __post_init__(self) -> None:
        self.provider = self.models[0].provider
        self.model = self.models[0].model

    def __repr__(self) -> str:
        return f"<ResilientModel {', '.join(f'{model.provider}:{model.model}' for model in self.models)}>"

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """Return the answer of the first model that succeeds.

        Args:
            prompt: Text, a message, or a sequence of messages (`Prompt`).
            options: Options of `create_streaming_model` to override for this call.

        Raises:
            ConfigurationError: One of the models does not support the prompt or an option.
        """
        messages = messages_of(prompt)
        events = self._first_answer(messages, options)
        if self.recovery is None:
            return events

        def ask(given: Sequence[Message]) -> Observable[TokenEvent]:
            return self._first_answer(given, options, continues=given != messages)

        return recover(self.recovery, ask, messages, scheduler=self.scheduler)(events)

    def close(self) -> None:
        """Close the idle connections of all models."""
        for model in self.models:
            model.close()

    def _first_answer(
        self, messages: Sequence[Message], options: CallOptions, *, continues: bool = False
    ) -> Observable[TokenEvent]:
        """Return the answer of the first model that succeeds.

        If the last message is the beginning of an answer that it `continues`, only models that can do that are asked.
        """
        streams = [
            stream for place in range(len(self.models)) if (stream := self._stream(place, messages, options, continues))
        ]
        if not streams:
            raise _cannot_continue(*self.models)
        return fallback_to(*streams[1:])(streams[0]) if len(streams) > 1 else streams[0]

    def _stream(
        self, place: int, messages: Sequence[Message], options: CallOptions, continues: bool
    ) -> Observable[TokenEvent] | None:
        """Return the stream of the model at `place`; None if the call `continues` an answer, and the model cannot."""
        model = self.models[place]
        call = cast("CallOptions", {**options, "max_retries": 0})
        if place:
            call.pop("model", None)
        if not continues:
            stream = model.stream(messages, **call)
        elif prefix_form(model.provider, call.get("model", model.model)):
            stream = continuing(model, **call)(messages)
        else:
            return None
        tried = retry_transient(options.get("max_retries", self.max_retries), scheduler=self.scheduler)(stream)
        return self.breakers[place](tried) if self.breakers else tried


def _breakers(given: CircuitBreaker | bool, count: int) -> tuple[CircuitBreaker, ...]:
    if given is False:
        return ()
    first = CircuitBreaker() if given is True else given
    return (first, *(first.fresh() for _ in range(count - 1)))


def _prefix_options(form: PrefixForm, options: CallOptions) -> CallOptions:
    """Return the options of a call that continues an answer."""
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
