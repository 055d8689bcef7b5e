"""Token streams from language models as ReactiveX Observables."""
