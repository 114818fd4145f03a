"""Creates that go through us: journaled, sent at most once, settled by what Luma says or lists.

creates   the use case: journal, send, settle, answer; idempotency keys
recovery  finds the generations of creates whose answers were lost, in Luma's list
outcome   what became of a create: journal, row and event in one transaction
answer    what the caller gets, with its headers
request   a create as it came, and as it goes to Luma
"""
