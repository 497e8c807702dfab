"""Will it work, before it is tried?

examination    account, server, login and sender: looked at, nothing sent
dns            what the DNS says; records and spf read it
authenticity   whether receivers will believe that this sender sent it
signature      whether they will believe the signature that is made here
diagnosis      what the person reads of it
"""
