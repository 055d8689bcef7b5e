"""JSON schemas as each vendor takes them: rewritten if nothing is lost, else refused with the reason.

What a vendor does not enforce moves into the description, where the model reads it; the answer is validated
on this side in any case.
"""
