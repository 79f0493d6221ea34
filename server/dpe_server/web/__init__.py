"""The page for operators, a process of its own: ``dpe web``. Needs the extra ``web``.

Only here is HTTP known, and what runs it. What is shown and done is in ``operators``; nothing here decides what a
device gets. Whoever comes in has passed ``door``.
"""
