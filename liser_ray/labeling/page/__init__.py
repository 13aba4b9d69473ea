"""The page ``report.html``: what a table of labels holds, for whoever decides what to do with it."""
