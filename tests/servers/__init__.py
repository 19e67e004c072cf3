"""S3 servers that tests start for themselves, and a client of a few lines to look at what is in them.

Each has a virtual environment of its own, because each pins other versions of what agentfs needs too;
`make servers` installs them. A server that is not there fails the test that wants it.
"""
