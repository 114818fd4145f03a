"""web.api"""
