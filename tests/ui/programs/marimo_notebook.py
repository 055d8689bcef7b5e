"""A marimo notebook with streams in it."""

import marimo

app = marimo.App()


@app.cell
def _():
    import reactivex

    from rxllm.ui.jupyter import live

    return live, reactivex


@app.cell
def _(live, reactivex):
    live(reactivex.of("All **is** ", "well ![p](http://127.0.0.1:9/p.png)"))


@app.cell
def _(live, reactivex):
    live(reactivex.of("left"), reactivex.of("right"))
