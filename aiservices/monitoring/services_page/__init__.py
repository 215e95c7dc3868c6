"""What the admin's page "AI services" shows: services, credentials that need attention, today's generations, models.

A fixed number of queries, however many rows there are; every list is cut at a length that has a name.
"""
