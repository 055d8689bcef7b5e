"""A scheduler without an application. Prints what it says."""

import sys
from importlib import import_module

import rxllm
from rxllm.ui.qt import QtScheduler

import_module(f"{sys.argv[1]}.QtCore")
try:
    QtScheduler()
except rxllm.ConfigurationError as error:
    print(error)
