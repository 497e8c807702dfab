PRAGMA application_id = 1836083761;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempts (
    time REAL NOT NULL,
    row INTEGER NOT NULL,
    state TEXT NOT NULL,
    code INTEGER,
    PRIMARY KEY (time, row)
) WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1800000000.0,1,'sent',250);
INSERT INTO "attempts" VALUES(1800000001.0,2,'sent',250);
INSERT INTO "attempts" VALUES(1800000002.0,5,'deferred',450);
INSERT INTO "attempts" VALUES(1800000003.0,6,'failed',550);
INSERT INTO "attempts" VALUES(1800000004.0,7,'uncertain',NULL);
INSERT INTO "attempts" VALUES(1800000005.0,8,'uncertain',NULL);
CREATE TABLE editions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    forgotten REAL
);
INSERT INTO "editions" VALUES(1,'spring',NULL);
CREATE TABLE meta (
    edition INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (edition, name)
) WITHOUT ROWID;
INSERT INTO "meta" VALUES(0,'secret','24c7a1353bfe4cf18e56620980a313e79096053d83c2eed3918ac911096bbb95');
INSERT INTO "meta" VALUES(1,'fingerprint','aaaa-bb');
CREATE TABLE rows (
    id INTEGER PRIMARY KEY,
    edition INTEGER NOT NULL REFERENCES editions,
    key TEXT NOT NULL,
    copy INTEGER NOT NULL,      -- 0: the row that counts; else the row number of a further row with this key
    row INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    listed TEXT NOT NULL,       -- what the list says: waiting, invalid, skipped; empty when gone from it
    state TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL,
    digest TEXT NOT NULL,       -- of what the list and the letter make of the row now
    attempts INTEGER NOT NULL DEFAULT 0,
    first REAL,                 -- seconds since the epoch, as are time and due
    time REAL,
    due REAL,
    stage TEXT NOT NULL DEFAULT '',
    code INTEGER,
    enhanced TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    message_id TEXT NOT NULL DEFAULT '',
    date TEXT NOT NULL DEFAULT '',
    given TEXT NOT NULL DEFAULT '',         -- digest of what a server was given
    fingerprint TEXT NOT NULL DEFAULT '',   -- of the campaign when a server was given it
    UNIQUE (edition, key, copy)
);
INSERT INTO "rows" VALUES(1,1,'ada',0,2,'ada@x.example','waiting','sent',0,'','d1',1,1800000000.0,1800000000.0,NULL,'end of data',250,'','sent it is','<4kecscfm3cshx54c2gi2kajztjclh6hv@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(2,1,'grüße@exämple',0,3,'grüße@exämple@x.example','waiting','sent',0,'','d2',1,1800000001.0,1800000001.0,NULL,'end of data',250,'','sent it is','<rwxud7ay22mjldfg7inas3eaiklnrlfu@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(3,1,'bad',0,4,'bad@x.example','invalid','invalid',0,'because','d1',0,NULL,NULL,NULL,'',NULL,'','','','','','');
INSERT INTO "rows" VALUES(4,1,'out',0,5,'out@x.example','skipped','skipped',0,'because','d1',0,NULL,NULL,NULL,'',NULL,'','','','','','');
INSERT INTO "rows" VALUES(5,1,'later',0,6,'later@x.example','waiting','deferred',0,'','d1',1,1800000002.0,1800000002.0,1800000300.0,'end of data',450,'','deferred it is','<7gfmbcacumzif33wslr57runxo2mpxpr@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(6,1,'no',0,7,'no@x.example','waiting','failed',0,'','d1',1,1800000003.0,1800000003.0,NULL,'end of data',550,'','failed it is','<iotmpdmee2mpwqslh344fqttyfcaabac@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(7,1,'maybe',0,8,'maybe@x.example','waiting','uncertain',0,'','d1',1,1800000004.0,1800000004.0,NULL,'end of data',NULL,'','uncertain it is','<m4ja66du4sy5bt55a5kfukxrlludxsaw@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(8,1,'kept',0,9,'kept@x.example','waiting','uncertain',1,'','d1',1,1800000005.0,1800000005.0,NULL,'end of data',NULL,'','uncertain it is','<r23ebwcl3jdbgtgdaekurhgxhzgkqhh2@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
INSERT INTO "rows" VALUES(9,1,'left',0,10,'left@x.example','','waiting',0,'','d1',0,NULL,NULL,NULL,'',NULL,'','','','','','');
INSERT INTO "rows" VALUES(10,1,'ada',10,10,'ada@x.example','skipped','skipped',0,'same address as row 2','',0,NULL,NULL,NULL,'',NULL,'','','','','','');
INSERT INTO "rows" VALUES(11,1,'new',0,11,'new@x.example','waiting','committing',0,'','d1',0,NULL,NULL,NULL,'',NULL,'','','<o2rj3oxrs4dfy2oktkkubz7bhpdfwelt@ada.example>','2027-01-15T08:00:00+00:00','d1','aaaa-bb');
CREATE INDEX place ON rows (edition, row);
CREATE INDEX tally ON rows (edition, listed, state, settled);
CREATE INDEX copies ON rows (edition) WHERE copy > 0;
CREATE INDEX in_flight ON rows (id) WHERE state = 'committing';
CREATE TRIGGER sent_is_final BEFORE UPDATE OF state ON rows
    WHEN old.state = 'sent' AND new.state <> 'sent'
    BEGIN SELECT raise(ABORT, 'a row that was sent stays sent'); END;
CREATE TRIGGER attempted AFTER UPDATE OF time ON rows
    BEGIN INSERT OR REPLACE INTO attempts VALUES (new.time, new.id, new.state, new.code); END;
COMMIT;
