"""Creating generations: from the options of a command to a generation, bought at most once.

wanted     what the options say
order      the same in the form of Luma's two APIs
overrides  `--set` and `--body`: whatever the options do not name
shown      prints what would be sent, and what was created
buying     sends the order, and finds out what it created if the answer is lost
"""
