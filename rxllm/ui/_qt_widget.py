"""References to Qt widgets that keep none alive, and what ends with a widget or its window."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import not_
from typing import TYPE_CHECKING, Any

import reactivex
from reactivex import Observable
from reactivex import operators as rx
from reactivex.disposable import CompositeDisposable

from ._autoscroll import Autoscroll, ViewPosition
from ._binding import Binding
from ._binding import bind_enabled as bind_enabled_on
from ._qt_scheduler import QtScheduler, qt_module

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

_LOOK_SECONDS = 0.1
"""How often a window is checked for being hidden."""

_NEARLY_AT_END = 4
"""Pixels."""


class WidgetRef:
    """A widget that lives and dies without regard to this reference; there is one for each widget.

    A weak reference alone does not do: the Python object of a widget that C++ made may go while the widget stays.
    """

    def __init__(self, widget: Any, address: int) -> None:
        """Refer to a widget, whose C++ object is at `address`."""
        self._weak = weakref.ref(widget)
        self._type: Any = type(widget)
        self._address = address
        self._autoscroll: Autoscroll | None = None
        self.bindings = CompositeDisposable()
        """Disposed when the widget is destroyed."""
        self._death = when_destroyed(widget, partial(_forget, self, address))

    def __call__(self) -> Any:
        """Return the widget; None once it is destroyed."""
        if self.destroyed:
            return None
        widget = self._weak()
        if widget is None:
            widget = _wrapped(self._address, self._type)
            self._weak = weakref.ref(widget)
        return widget

    @property
    def destroyed(self) -> bool:
        """Whether the widget, or the application, is gone."""
        try:
            return self.bindings.is_disposed or bool(self._death.isActive())
        except RuntimeError:  # it was the application's
            return True

    def call(self, method: str, *args: object) -> Any:
        """Call a method of the widget; return None if that is destroyed."""
        widget = self()
        return None if widget is None else getattr(widget, method)(*args)

    @property
    def autoscroll(self) -> Autoscroll:
        """What keeps the end of this scroll area in view."""
        if self._autoscroll is None:
            self._autoscroll = autoscroll = Autoscroll(self._position, self._to_end)

            def range_changed(_low: int, _high: int) -> None:
                autoscroll.layout_changed()

            self().verticalScrollBar().rangeChanged.connect(range_changed)
        return self._autoscroll

    def end_with_widget(self, binding: Binding, *, while_hidden: bool = True) -> Binding:
        """End `binding` when the widget is destroyed; unless `while_hidden`, also when its window is hidden."""
        binding.end_with(self.bindings)
        if not while_hidden:
            # It looks ten times a second: an event filter in Python would be called by widgets that are half destroyed.
            visible = reactivex.interval(_LOOK_SECONDS, QtScheduler()).pipe(
                rx.start_with(0),
                rx.take_until(binding.idle.pipe(rx.filter(bool))),
                rx.map(lambda _: self._window_is_visible()),
            )
            visible.pipe(rx.skip_while(not_), rx.filter(not_)).subscribe(lambda _: binding.dispose())
        return binding

    def _window_is_visible(self) -> bool:
        window = self.call("window")
        return window is not None and bool(window.isVisible())

    def _position(self) -> ViewPosition | None:
        bar = self.call("verticalScrollBar")
        if bar is None or not self().viewport().height():  # in a closed part of a QSplitter, for example
            return None
        return bar.value(), bar.value() >= bar.maximum() - _NEARLY_AT_END

    def _to_end(self) -> None:
        if (bar := self.call("verticalScrollBar")) is not None:
            bar.setValue(bar.maximum())


def widget_ref(widget: Any) -> WidgetRef:
    """Return the reference to a widget."""
    address = address_of(widget)
    ref = _refs.get(address)
    if ref is not None and ref.destroyed:  # another widget has got the address
        _forget(ref, address)
        ref = None
    if ref is None:
        ref = _refs[address] = WidgetRef(widget, address)
    return ref


_refs: dict[int, WidgetRef] = {}
"""By the address of the C++ object."""


def _forget(ref: WidgetRef, address: int) -> None:
    """End what is bound to a widget that is destroyed."""
    if _refs.get(address) is ref:
        del _refs[address]
    ref.bindings.dispose()


def bind_enabled(widget: QWidget, when: Observable[bool]) -> Binding:
    """Enable and disable a widget; it gets the keyboard focus back that it loses when it is disabled.

    Args:
        widget: Any widget.
        when: For example a binding's `running` or `idle`. When it fails, the widget is disabled.

    Returns:
        The binding; it ends with `when` or with the widget.
    """
    ref = widget_ref(widget)
    focus_after: int | None = None  # what has got the focus that the widget has lost, by its address

    def enable(enabled: bool) -> None:
        """Enable or disable the widget, and give back the focus that it has lost."""
        nonlocal focus_after
        had_focus = ref.call("hasFocus")
        ref.call("setEnabled", enabled)
        if not enabled and had_focus:
            focus_after = _address_of_focus()
        elif enabled and focus_after is not None:
            if _address_of_focus() in (0, focus_after):  # the user has not moved it
                ref.call("setFocus")
            focus_after = None

    return ref.end_with_widget(bind_enabled_on(QtScheduler(), enable, when))


def _address_of_focus() -> int:
    focused = qt_module("QtWidgets").QApplication.focusWidget()
    return 0 if focused is None else address_of(focused)


def when_destroyed(owner: Any, action: Callable[[], object]) -> Any:
    """Call `action` on the UI thread soon after a QObject is destroyed.

    The signal starts a timer, without Python in between: PyQt6 crashes where a widget that the garbage collector of
    another thread has found calls Python while it is destroyed.

    Returns:
        The timer: it is active from the destruction until `action` runs.
    """
    core = qt_module("QtCore")
    timer = core.QTimer(core.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.timeout.connect(timer.deleteLater)
    timer.timeout.connect(action)
    owner.destroyed.connect(timer.start)
    return timer


def address_of(widget: Any) -> int:
    """Return the address of the C++ object."""
    if _is_pyside(widget.__class__):
        return int(import_module("shiboken6").getCppPointer(widget)[0])
    return int(import_module("PyQt6.sip").unwrapinstance(widget))


def _wrapped(address: int, kind: Any) -> Any:
    own = next(base for base in kind.__mro__ if base.__module__.startswith(("PySide6", "PyQt6")))
    if _is_pyside(kind):
        return import_module("shiboken6").wrapInstance(address, own)
    return import_module("PyQt6.sip").wrapinstance(address, own)


def _is_pyside(kind: Any) -> bool:
    return any(base.__module__.startswith("PySide6") for base in kind.__mro__)
