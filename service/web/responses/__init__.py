"""web.responses"""
