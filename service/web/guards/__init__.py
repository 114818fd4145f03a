"""web.guards"""
