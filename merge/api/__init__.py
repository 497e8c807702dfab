"""How does a letter leave through a provider's web API?

parts       the finished message, taken apart again
sendgrid    how SendGrid wants a letter, and what it answers
mailjet     how Mailjet wants up to 50 of them, and what it answers for each
meaning     what an answer means, for the rows and for the run
call        one request with one deadline, and what came of it; the only room with httpx
probe       whether the key opens the door
session     a carrier: several calls in the air, whatever happens to one
"""
