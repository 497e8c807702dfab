"""What came back?

blame       whether a failure is the address's own, by its status code and its words
mail        one mail as it lies in a mailbox, opened so that nothing in it can do harm
dsn         the reports that follow the standard (RFC 3464, RFC 6533)
complaint   the reports of people who called a letter spam (RFC 5965)
unruly      the reports that follow no standard
sighting    what one mail is: a bounce, a complaint, a goodbye, a machine's answer, or just a mail
mailbox     the mails of a Maildir or an mbox
imap        the mails of a mailbox on a server
matching    which row of which sending a report is about
finding     what was found in all, and what would be done about it
visit       one look into the mailbox, from its opening to what is written down
"""
