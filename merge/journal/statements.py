"""What is said to the journal's database? Every statement that `journal` makes."""

STANDING = """
SELECT row, state, attempts, due, date, digest, given, message_id, first, fingerprint, settled
FROM rows WHERE edition = ? AND key = ? AND copy = 0
"""
STANDINGS = """
SELECT row, state, attempts, due, date, digest, given, message_id, first, fingerprint, settled, key
FROM rows WHERE edition = ? AND row BETWEEN ? AND ? AND +copy = 0 AND +listed = 'waiting'
  AND +state IN ('waiting', 'deferred')
"""
RECORDS = """
SELECT row, key, recipient, state, code, enhanced, reply, attempts, message_id, time, due,
       settled, reason, stage
FROM rows WHERE edition = ? AND +listed > '' ORDER BY row, copy
"""
GONE_RECORDS = """
SELECT row, key, recipient, state, code, enhanced, reply, attempts, message_id, time, due,
       settled, reason, stage
FROM rows WHERE edition = ? AND listed = '' ORDER BY row, copy
"""
UNCERTAIN = """
SELECT row, key, recipient, state, code, enhanced, reply, attempts, message_id, time, due,
       settled, reason, stage
FROM rows WHERE edition = ? AND listed > '' AND state IN ('uncertain', 'committing') AND settled = 0
ORDER BY row
"""
COMMITTING = """
UPDATE rows SET state = 'committing', message_id = ?, date = ?, given = ?, fingerprint = ?
WHERE edition = ? AND key = ? AND copy = 0 AND state IN ('waiting', 'deferred', 'committing')
"""
OUTCOME = """
UPDATE rows SET state = ?, settled = 0, stage = ?, code = ?, enhanced = ?, reply = ?, attempts = ?,
       due = ?, first = coalesce(first, ?), time = ?, reason = ?
WHERE edition = ? AND key = ? AND copy = 0
"""
WITHDRAWN = """
UPDATE rows SET state = CASE WHEN due IS NULL THEN 'waiting' ELSE 'deferred' END
WHERE edition = ? AND key = ? AND copy = 0 AND state = 'committing'
"""
DOUBT = """
UPDATE rows SET state = 'uncertain', settled = 0, due = NULL, attempts = attempts + 1,
       first = coalesce(first, :now), time = :now, stage = 'end of data', code = NULL, enhanced = '',
       reply = '', reason = 'the run ended before an answer was on record'
WHERE state = 'committing'
"""
SKIPPED = """
UPDATE rows SET state = 'skipped', listed = 'skipped', due = NULL, reason = ?
WHERE edition = ? AND key = ? AND copy = 0 AND state IN ('waiting', 'deferred', 'committing')
"""
AGAIN = """
UPDATE rows SET state = 'waiting', settled = 0, due = NULL, reason = ''
WHERE edition = :edition AND copy = 0 AND state = 'uncertain' AND listed = 'waiting'
  AND (key = :key OR (:key IS NULL AND settled = 0))
"""
SKIP = """
UPDATE rows SET settled = 1
WHERE edition = :edition AND copy = 0 AND state = 'uncertain' AND listed > '' AND settled = 0
  AND (key = :key OR :key IS NULL)
"""
RETRY_FAILED = """
UPDATE rows SET state = 'waiting', attempts = 0, first = NULL, due = NULL, reason = ''
WHERE edition = ? AND copy = 0 AND state = 'failed' AND listed = 'waiting' AND row >= ? AND row < ?
"""
SEEN = "SELECT id, row, listed FROM rows WHERE edition = ? AND key = ? AND copy = 0"
ENROLLED = """
SELECT row, recipient, listed, state, reason, digest, recipients, id, settled, given, due
FROM rows WHERE edition = ? AND key = ? AND copy = ?
"""
COPY_WITH = "SELECT 1 FROM rows WHERE edition = ? AND key = ? AND copy > 0 AND digest = ?"
_AS_IT_WAS = """
CASE WHEN listed = 'waiting' AND reason = '' THEN CASE state
     WHEN 'waiting' THEN 0
     WHEN 'sent' THEN CASE WHEN given = digest THEN 1 END
     END END
"""
AHEAD = f"""
SELECT row, key, recipient, digest, recipients, {_AS_IT_WAS}, id
FROM rows WHERE edition = ? AND (row, id) > (?, ?) AND +copy = 0 AND +listed > '' ORDER BY row, id LIMIT ?
"""  # noqa: S608 - made of nothing but text from here
IN_FULL = """
SELECT key, row, recipient, listed, state, reason, digest, recipients, id, settled, given, due
FROM rows WHERE id IN
"""
LAST_NUMBER = "SELECT coalesce(max(id), 0) FROM rows"
ENROL = """
INSERT INTO rows (id, edition, key, copy, row, recipient, listed, state, reason, digest, recipients)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ENROL_AGAIN = """
UPDATE rows SET row = ?, recipient = ?, listed = ?, state = ?, reason = ?, digest = ?, recipients = ?
WHERE id = ?
"""
COUNTS = "SELECT state, count(*) FROM rows WHERE edition = ? AND listed > '' GROUP BY state"
LAST_ROW = "SELECT coalesce(max(row), 0) FROM rows WHERE edition = ?"
TO_DO = "SELECT row FROM rows WHERE edition = ? AND listed = 'waiting' AND state IN ('waiting', 'deferred')"
TROUBLES = """
SELECT row, key, recipient, state, code, enhanced, reply, attempts, message_id, time, due,
       settled, reason, stage
FROM rows WHERE edition = ? AND listed > '' AND settled = 0
  AND state IN ('failed', 'deferred', 'uncertain', 'committing')
ORDER BY row
"""
NEXT_DUE = "SELECT min(due) FROM rows WHERE edition = ? AND listed > '' AND state = 'deferred'"
RECENT = "SELECT time, recipients FROM attempts WHERE time > ? ORDER BY time"
MAILED = """
SELECT rows.recipient, attempts.time FROM attempts JOIN rows ON rows.id = attempts.row
WHERE attempts.time > ? AND attempts.state = 'sent' AND rows.recipient > ''
"""
LISTED = "SELECT id, state FROM rows WHERE edition = ? AND listed > '' AND copy = 0"
LISTED_NUMBER = "SELECT count(*) FROM rows WHERE edition = ? AND listed > '' AND copy = 0"
COPIES = "SELECT id FROM rows WHERE edition = ? AND copy > 0"
DROP = "DELETE FROM rows WHERE id = ?"
GONE = "UPDATE rows SET listed = '' WHERE id = ?"
EDITION = "SELECT id, forgotten FROM editions WHERE name = ?"
NEW_EDITION = "INSERT OR IGNORE INTO editions (name) VALUES (?)"
META = "SELECT value FROM meta WHERE edition = ? AND name = ?"
SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)"
SENT_WITH = """
SELECT message_id FROM rows
WHERE edition IN (SELECT id FROM editions) AND key = ? AND copy = 0 AND fingerprint = ? AND state = 'sent'
"""
VERSIONS = "SELECT fingerprint, count(*) FROM rows WHERE state = 'sent' GROUP BY fingerprint"
OPEN_NUMBER = """
SELECT count(*) FROM rows WHERE edition = ? AND listed > ''
  AND (state IN ('waiting', 'deferred') OR (state = 'uncertain' AND settled = 0))
"""
FORGET = """
UPDATE rows SET key = 'forgotten ' || id, recipient = '', reply = '', reason = '', digest = '',
       message_id = '', given = ''
WHERE edition = ?
"""
FORGET_BOUNCES = """
UPDATE bounces SET recipient = '', reply = '', report = 'forgotten ' || id, key = coalesce(
    (SELECT 'forgotten ' || rows.id FROM rows
     WHERE rows.edition = bounces.edition AND rows.key = bounces.key AND rows.copy = 0), 'forgotten')
WHERE edition = ?
"""
FORGOTTEN = "UPDATE editions SET forgotten = ? WHERE id = ?"
