"""Creates that go through us: journaled, sent at most once, settled by what Luma says or lists.

creates    the use case: journal, send, settle, answer; idempotency keys
recovery   finds the generations of creates whose answers were lost, in Luma's list
sending    sends one create, once, and decides what became of it
outcome    how that is stored: journal, row and event in one transaction
delivered  which answers have reached their callers
refused    what the tracker refuses by itself
answer     what the caller gets, with its headers
request    a create as it came, and as it goes to Luma
"""
