BEGIN TRANSACTION;
CREATE TABLE alarms (
	channel VARCHAR(16) NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	verdict VARCHAR(16) NOT NULL, 
	words TEXT NOT NULL, 
	since DATETIME NOT NULL, 
	told_at DATETIME NOT NULL, 
	mark BIGINT NOT NULL, 
	CONSTRAINT pk_alarms PRIMARY KEY (channel, "key")
);
INSERT INTO "alarms" VALUES('email','queue','warning','One study waits.','2026-11-29 00:24:48.176968','2026-11-29 00:24:48.176968',0);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v0008');
CREATE TABLE analyses (
	job_id INTEGER NOT NULL, 
	networks JSON NOT NULL, 
	remarks JSON NOT NULL, figures JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_analyses PRIMARY KEY (job_id), 
	CONSTRAINT fk_analyses_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "analyses" VALUES(1,'[{"name": "contour", "version": "0.2.0", "sha256": "abababababababababababababababababababababababababababababababab", "intended_use": "Trained on phantoms, not for clinical use"}, {"name": "lesion", "version": "0.2.0", "sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "intended_use": "Trained on phantoms, not for clinical use"}]','[]','{"T1 pixel mm": 0.5}');
INSERT INTO "analyses" VALUES(2,'[]','[]','{}');
INSERT INTO "analyses" VALUES(4,'[{"name": "contour", "version": "0.2.0", "sha256": "abababababababababababababababababababababababababababababababab", "intended_use": "Trained on phantoms, not for clinical use"}, {"name": "lesion", "version": "0.2.0", "sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "intended_use": "Trained on phantoms, not for clinical use"}]','[]','{"T1 pixel mm": 0.5}');
INSERT INTO "analyses" VALUES(6,'[]','[]','{}');
CREATE TABLE analysis_findings (
	job_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	side VARCHAR(8) NOT NULL, 
	lesion VARCHAR(16) NOT NULL, 
	region VARCHAR(16) NOT NULL, 
	probability FLOAT, 
	threshold FLOAT NOT NULL, 
	CONSTRAINT pk_analysis_findings PRIMARY KEY (job_id, place), 
	CONSTRAINT fk_analysis_findings_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "analysis_findings" VALUES(1,0,'right','oedema','upper ilium',0.0,0.5);
INSERT INTO "analysis_findings" VALUES(1,1,'right','oedema','lower ilium',0.37,0.5);
INSERT INTO "analysis_findings" VALUES(1,2,'right','oedema','upper sacrum',0.74,0.5);
INSERT INTO "analysis_findings" VALUES(1,3,'right','oedema','lower sacrum',0.11,0.5);
INSERT INTO "analysis_findings" VALUES(1,4,'right','erosion','upper ilium',NULL,0.5);
INSERT INTO "analysis_findings" VALUES(1,5,'right','erosion','lower ilium',0.85,0.5);
INSERT INTO "analysis_findings" VALUES(1,6,'right','erosion','upper sacrum',0.22,0.5);
INSERT INTO "analysis_findings" VALUES(1,7,'right','erosion','lower sacrum',0.59,0.5);
INSERT INTO "analysis_findings" VALUES(1,8,'right','fatty lesion','upper ilium',0.96,0.5);
INSERT INTO "analysis_findings" VALUES(1,9,'right','fatty lesion','lower ilium',0.33,0.5);
INSERT INTO "analysis_findings" VALUES(1,10,'right','fatty lesion','upper sacrum',0.7,0.5);
INSERT INTO "analysis_findings" VALUES(1,11,'right','fatty lesion','lower sacrum',0.07,0.5);
INSERT INTO "analysis_findings" VALUES(1,12,'right','sclerosis','joint',0.44,0.5);
INSERT INTO "analysis_findings" VALUES(1,13,'right','ankylosis','joint',0.81,0.5);
INSERT INTO "analysis_findings" VALUES(1,14,'left','oedema','upper ilium',0.18,0.5);
INSERT INTO "analysis_findings" VALUES(1,15,'left','oedema','lower ilium',0.55,0.5);
INSERT INTO "analysis_findings" VALUES(1,16,'left','oedema','upper sacrum',0.92,0.5);
INSERT INTO "analysis_findings" VALUES(1,17,'left','oedema','lower sacrum',0.29,0.5);
INSERT INTO "analysis_findings" VALUES(1,18,'left','erosion','upper ilium',0.66,0.5);
INSERT INTO "analysis_findings" VALUES(1,19,'left','erosion','lower ilium',0.03,0.5);
INSERT INTO "analysis_findings" VALUES(1,20,'left','erosion','upper sacrum',0.4,0.5);
INSERT INTO "analysis_findings" VALUES(1,21,'left','erosion','lower sacrum',0.77,0.5);
INSERT INTO "analysis_findings" VALUES(1,22,'left','fatty lesion','upper ilium',0.14,0.5);
INSERT INTO "analysis_findings" VALUES(1,23,'left','fatty lesion','lower ilium',0.51,0.5);
INSERT INTO "analysis_findings" VALUES(1,24,'left','fatty lesion','upper sacrum',0.88,0.5);
INSERT INTO "analysis_findings" VALUES(1,25,'left','fatty lesion','lower sacrum',0.25,0.5);
INSERT INTO "analysis_findings" VALUES(1,26,'left','sclerosis','joint',0.62,0.5);
INSERT INTO "analysis_findings" VALUES(1,27,'left','ankylosis','joint',0.99,0.5);
INSERT INTO "analysis_findings" VALUES(4,0,'right','oedema','upper ilium',0.0,0.5);
INSERT INTO "analysis_findings" VALUES(4,1,'right','oedema','lower ilium',0.37,0.5);
INSERT INTO "analysis_findings" VALUES(4,2,'right','oedema','upper sacrum',0.74,0.5);
INSERT INTO "analysis_findings" VALUES(4,3,'right','oedema','lower sacrum',0.11,0.5);
INSERT INTO "analysis_findings" VALUES(4,4,'right','erosion','upper ilium',NULL,0.5);
INSERT INTO "analysis_findings" VALUES(4,5,'right','erosion','lower ilium',0.85,0.5);
INSERT INTO "analysis_findings" VALUES(4,6,'right','erosion','upper sacrum',0.22,0.5);
INSERT INTO "analysis_findings" VALUES(4,7,'right','erosion','lower sacrum',0.59,0.5);
INSERT INTO "analysis_findings" VALUES(4,8,'right','fatty lesion','upper ilium',0.96,0.5);
INSERT INTO "analysis_findings" VALUES(4,9,'right','fatty lesion','lower ilium',0.33,0.5);
INSERT INTO "analysis_findings" VALUES(4,10,'right','fatty lesion','upper sacrum',0.7,0.5);
INSERT INTO "analysis_findings" VALUES(4,11,'right','fatty lesion','lower sacrum',0.07,0.5);
INSERT INTO "analysis_findings" VALUES(4,12,'right','sclerosis','joint',0.44,0.5);
INSERT INTO "analysis_findings" VALUES(4,13,'right','ankylosis','joint',0.81,0.5);
INSERT INTO "analysis_findings" VALUES(4,14,'left','oedema','upper ilium',0.18,0.5);
INSERT INTO "analysis_findings" VALUES(4,15,'left','oedema','lower ilium',0.55,0.5);
INSERT INTO "analysis_findings" VALUES(4,16,'left','oedema','upper sacrum',0.92,0.5);
INSERT INTO "analysis_findings" VALUES(4,17,'left','oedema','lower sacrum',0.29,0.5);
INSERT INTO "analysis_findings" VALUES(4,18,'left','erosion','upper ilium',0.66,0.5);
INSERT INTO "analysis_findings" VALUES(4,19,'left','erosion','lower ilium',0.03,0.5);
INSERT INTO "analysis_findings" VALUES(4,20,'left','erosion','upper sacrum',0.4,0.5);
INSERT INTO "analysis_findings" VALUES(4,21,'left','erosion','lower sacrum',0.77,0.5);
INSERT INTO "analysis_findings" VALUES(4,22,'left','fatty lesion','upper ilium',0.14,0.5);
INSERT INTO "analysis_findings" VALUES(4,23,'left','fatty lesion','lower ilium',0.51,0.5);
INSERT INTO "analysis_findings" VALUES(4,24,'left','fatty lesion','upper sacrum',0.88,0.5);
INSERT INTO "analysis_findings" VALUES(4,25,'left','fatty lesion','lower sacrum',0.25,0.5);
INSERT INTO "analysis_findings" VALUES(4,26,'left','sclerosis','joint',0.62,0.5);
INSERT INTO "analysis_findings" VALUES(4,27,'left','ankylosis','joint',0.99,0.5);
CREATE TABLE analysis_pictures (
	job_id INTEGER NOT NULL, 
	file_name VARCHAR(96) NOT NULL, 
	place INTEGER NOT NULL, 
	sequence VARCHAR(8) NOT NULL, 
	image TEXT NOT NULL, 
	seen JSON NOT NULL, 
	CONSTRAINT pk_analysis_pictures PRIMARY KEY (job_id, file_name), 
	CONSTRAINT fk_analysis_pictures_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "analysis_pictures" VALUES(1,'abababababababababababababababababababababababababababababababab-1.png',1,'T1','slice 7','[]');
INSERT INTO "analysis_pictures" VALUES(4,'abababababababababababababababababababababababababababababababab-1.png',1,'T1','slice 7','[]');
CREATE TABLE analysis_series (
	job_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	series_uid VARCHAR(64) NOT NULL, 
	number TEXT NOT NULL, 
	description TEXT NOT NULL, 
	images INTEGER NOT NULL, 
	role VARCHAR(32) NOT NULL, 
	used BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_analysis_series PRIMARY KEY (job_id, place), 
	CONSTRAINT fk_analysis_series_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "analysis_series" VALUES(1,0,'1.2.3.1','1','localiser',3,'other',0,'not used: a localiser');
INSERT INTO "analysis_series" VALUES(1,1,'1.2.3.2','2','T1 tse cor',20,'T1',1,'used as T1: TR 550, TE 11 ms');
INSERT INTO "analysis_series" VALUES(1,2,'1.2.3.3','3','STIR cor',20,'STIR',1,'used as STIR: TR 4200, TE 40 ms');
INSERT INTO "analysis_series" VALUES(1,3,'1.2.3.4','4','<script>alert("x")</script><img src=x onerror=alert(1)>',24,'other',0,'not used: axial: 90° from coronal');
INSERT INTO "analysis_series" VALUES(2,0,'1.2.3.1','1','localiser',3,'other',0,'not used: a localiser');
INSERT INTO "analysis_series" VALUES(2,1,'1.2.3.2','2','T1 tse cor',20,'T1',0,'used as T1: TR 550, TE 11 ms');
INSERT INTO "analysis_series" VALUES(4,0,'1.2.3.1','1','localiser',3,'other',0,'not used: a localiser');
INSERT INTO "analysis_series" VALUES(4,1,'1.2.3.2','2','T1 tse cor',20,'T1',1,'used as T1: TR 550, TE 11 ms');
INSERT INTO "analysis_series" VALUES(4,2,'1.2.3.3','3','STIR cor',20,'STIR',1,'used as STIR: TR 4200, TE 40 ms');
INSERT INTO "analysis_series" VALUES(4,3,'1.2.3.4','4','<script>alert("x")</script><img src=x onerror=alert(1)>',24,'other',0,'not used: axial: 90° from coronal');
CREATE TABLE changes (
	change_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DATETIME NOT NULL, 
	who TEXT NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	subject TEXT NOT NULL, 
	note TEXT NOT NULL
);
INSERT INTO "changes" VALUES(1,'2026-11-29 00:24:48.117094','<script>alert("x")</script><img src=x onerror=alert(1)>','cancelled','job 8','');
INSERT INTO "changes" VALUES(2,'2026-11-29 00:24:48.130912','anna','hold','peer PACS','migration of the archive');
INSERT INTO "changes" VALUES(3,'2026-11-29 00:24:48.137021','anna','reveal patient','job 1','');
INSERT INTO "changes" VALUES(4,'2026-11-29 00:24:48.230435','test','add user','user anna','operator');
INSERT INTO "changes" VALUES(5,'2026-11-29 00:24:48.250791','anna','set password','user anna','');
INSERT INTO "changes" VALUES(6,'2026-11-29 00:24:48.266797','anna','add token','user anna','viewer');
INSERT INTO "changes" VALUES(7,'2026-11-29 00:24:48.273293','test','add user','user ben','viewer');
CREATE TABLE contacts (
	peer VARCHAR(16) NOT NULL, 
	address TEXT NOT NULL, 
	accepted_at DATETIME, 
	refused_at DATETIME, 
	refused_because TEXT NOT NULL, 
	echo_in_at DATETIME, 
	echo_out_at DATETIME, 
	echo_out_error TEXT NOT NULL, 
	CONSTRAINT pk_contacts PRIMARY KEY (peer)
);
INSERT INTO "contacts" VALUES('PACS','10.0.0.1','2026-11-29 00:24:48.165017',NULL,'','2026-11-29 00:24:48.165033',NULL,'');
CREATE TABLE deliveries (
	job_id INTEGER NOT NULL, 
	result_uid VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	status INTEGER, 
	note TEXT NOT NULL, 
	acknowledged_at DATETIME, 
	CONSTRAINT pk_deliveries PRIMARY KEY (job_id, result_uid, destination), 
	CONSTRAINT fk_deliveries_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id), 
	CONSTRAINT fk_deliveries_result_uid FOREIGN KEY(result_uid) REFERENCES results (sop_instance_uid)
);
INSERT INTO "deliveries" VALUES(1,'1.2.10.8.1','PACS','acknowledged',1,0,'','2026-11-29 00:24:47.989647');
INSERT INTO "deliveries" VALUES(1,'1.2.10.8.2','PACS','acknowledged',1,0,'','2026-11-29 00:24:47.997366');
INSERT INTO "deliveries" VALUES(1,'1.2.10.8.0','PACS','acknowledged',1,0,'','2026-11-29 00:24:48.005516');
INSERT INTO "deliveries" VALUES(4,'1.2.13.8.0','PACS','pending',0,NULL,'',NULL);
INSERT INTO "deliveries" VALUES(6,'1.2.15.8.0','PACS','kept back',0,NULL,'',NULL);
CREATE TABLE holds (
	hold_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	destination VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	held_by TEXT NOT NULL, 
	held_at DATETIME NOT NULL, 
	released_by TEXT NOT NULL, 
	released_at DATETIME
);
INSERT INTO "holds" VALUES(1,'PACS','migration of the archive','anna','2026-11-29 00:24:48.130912','',NULL);
CREATE TABLE instances (
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	study_uid VARCHAR(64) NOT NULL, 
	series_uid VARCHAR(64) NOT NULL, 
	patient_id TEXT NOT NULL, 
	issuer_of_patient_id TEXT NOT NULL, 
	source_ae VARCHAR(16) NOT NULL, 
	file_name TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	received_at DATETIME NOT NULL, 
	CONSTRAINT pk_instances PRIMARY KEY (sop_instance_uid)
);
INSERT INTO "instances" VALUES('1.2.10.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.10','1.2.10.9','P1','','PACS','78647d2b18fe8aca86cda3b8f800063c4af790d1907721ebd9022784b8ec8a04.dcm',525000,'78647d2b18fe8aca86cda3b8f800063c4af790d1907721ebd9022784b8ec8a04','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.11.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.11','1.2.11.9','P1','','PACS','3202f31735d74e30dc8cb4b631990a104e7c3491190d96d504337181322793a8.dcm',525000,'3202f31735d74e30dc8cb4b631990a104e7c3491190d96d504337181322793a8','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.12.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.12','1.2.12.9','P1','','PACS','d7fe7f670ca7b74105680df3c6f68e06e93584930c2b94666b65c8e3785e2666.dcm',525000,'d7fe7f670ca7b74105680df3c6f68e06e93584930c2b94666b65c8e3785e2666','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.13.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.13','1.2.13.9','P1','','PACS','809ad42e8740eeb49442e1505feee1d4f591a294aa3f5ee88aea3de13780cc45.dcm',525000,'809ad42e8740eeb49442e1505feee1d4f591a294aa3f5ee88aea3de13780cc45','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.14.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.14','1.2.14.9','P1','','PACS','0642d09f36d34566e36de76bfa8545d4c7cd59489ab764e96944addcda089fca.dcm',525000,'0642d09f36d34566e36de76bfa8545d4c7cd59489ab764e96944addcda089fca','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.15.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.15','1.2.15.9','P1','','PACS','2a3cbdee36c2ede6a8b7dcbb5bf757dcb80d275fb66fb89a98e13832bcc89b09.dcm',525000,'2a3cbdee36c2ede6a8b7dcbb5bf757dcb80d275fb66fb89a98e13832bcc89b09','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.16.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.16','1.2.16.9','<script>alert("x")</script><img src=x onerror=alert(1)>','','PACS','6117e44488c3bba9360baae9c669ed5b19fa40ebb286ae40186bbdb9755dac7a.dcm',525000,'6117e44488c3bba9360baae9c669ed5b19fa40ebb286ae40186bbdb9755dac7a','2024-05-06 12:00:00.000000');
INSERT INTO "instances" VALUES('1.2.17.9.1','1.2.840.10008.5.1.4.1.1.4','1.2.840.10008.1.2.1','1.2.17','1.2.17.9','P1','','PACS','d286a618e0e3565b7cd6767f1db103614d00b74cb892315dbb2e9bc0e16a2e37.dcm',525000,'d286a618e0e3565b7cd6767f1db103614d00b74cb892315dbb2e9bc0e16a2e37','2024-05-06 12:00:00.000000');
CREATE TABLE invitations (
	user_name VARCHAR(64) NOT NULL, 
	secret_hash VARCHAR(64) NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_invitations PRIMARY KEY (user_name), 
	CONSTRAINT fk_invitations_user_name FOREIGN KEY(user_name) REFERENCES users (name)
);
INSERT INTO "invitations" VALUES('ben','da4e3f9b9672642b6bf2112f041f2603a67b8f8069874861a34ceb58cceceb9b','2026-11-30 00:24:48.281065');
CREATE TABLE job_steps (
	step_id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	step VARCHAR(32) NOT NULL, 
	from_state VARCHAR(16), 
	to_state VARCHAR(16) NOT NULL, 
	who TEXT NOT NULL, 
	note TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_job_steps PRIMARY KEY (step_id), 
	CONSTRAINT fk_job_steps_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "job_steps" VALUES(1,1,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:47.958606');
INSERT INTO "job_steps" VALUES(2,1,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:47.962300');
INSERT INTO "job_steps" VALUES(3,1,'claimed','queued','analysing','worker 1','','2026-11-29 00:24:47.964671');
INSERT INTO "job_steps" VALUES(4,1,'results stored','analysing','delivering','host:71','3 results','2026-11-29 00:24:47.969107');
INSERT INTO "job_steps" VALUES(5,1,'delivery claimed','delivering','delivering','host:71','','2026-11-29 00:24:47.983463');
INSERT INTO "job_steps" VALUES(6,1,'acknowledged','delivering','delivered','host:71','','2026-11-29 00:24:48.013707');
INSERT INTO "job_steps" VALUES(7,2,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.017878');
INSERT INTO "job_steps" VALUES(8,2,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.021466');
INSERT INTO "job_steps" VALUES(9,2,'claimed','queued','analysing','worker 1','','2026-11-29 00:24:48.025487');
INSERT INTO "job_steps" VALUES(10,2,'reject','analysing','rejected','host:71','The study has no usable coronal STIR series; a T1 and a STIR are needed. Series received: 1.2.3.2 is a T1 (TR 550, TE 11 ms). Send what is missing.','2026-11-29 00:24:48.029088');
INSERT INTO "job_steps" VALUES(11,3,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.033753');
INSERT INTO "job_steps" VALUES(12,3,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.037477');
INSERT INTO "job_steps" VALUES(13,3,'claimed','queued','analysing','worker 1','','2026-11-29 00:24:48.041592');
INSERT INTO "job_steps" VALUES(14,3,'give up','analysing','failed','<script>alert("x")</script><img src=x onerror=alert(1)>','The analysis stopped: <script>alert("x")</script><img src=x onerror=alert(1)>','2026-11-29 00:24:48.045083');
INSERT INTO "job_steps" VALUES(15,4,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.049712');
INSERT INTO "job_steps" VALUES(16,4,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.053423');
INSERT INTO "job_steps" VALUES(17,4,'claimed','queued','analysing','worker 1','','2026-11-29 00:24:48.057539');
INSERT INTO "job_steps" VALUES(18,4,'results stored','analysing','delivering','host:71','1 results','2026-11-29 00:24:48.069159');
INSERT INTO "job_steps" VALUES(19,4,'delivery claimed','delivering','delivering','host:71','','2026-11-29 00:24:48.078310');
INSERT INTO "job_steps" VALUES(20,4,'delivery failed','delivering','delivering','host:71','PACS at pacs:104 cannot be reached: check that it runs.','2026-11-29 00:24:48.081101');
INSERT INTO "job_steps" VALUES(21,5,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.085756');
INSERT INTO "job_steps" VALUES(22,5,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.089431');
INSERT INTO "job_steps" VALUES(23,5,'claimed','queued','analysing','host:71','','2026-11-29 00:24:48.093447');
INSERT INTO "job_steps" VALUES(24,6,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.097694');
INSERT INTO "job_steps" VALUES(25,6,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.101459');
INSERT INTO "job_steps" VALUES(26,7,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.105775');
INSERT INTO "job_steps" VALUES(27,8,'opened',NULL,'receiving','PACS','','2026-11-29 00:24:48.110046');
INSERT INTO "job_steps" VALUES(28,8,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.113417');
INSERT INTO "job_steps" VALUES(29,8,'cancelled','queued','cancelled','<script>alert("x")</script><img src=x onerror=alert(1)>','','2026-11-29 00:24:48.117094');
INSERT INTO "job_steps" VALUES(30,7,'settled','receiving','queued','schedule','quiet','2026-11-29 00:24:48.141808');
INSERT INTO "job_steps" VALUES(31,6,'claimed','queued','analysing','host:71','','2026-11-29 00:24:48.145640');
INSERT INTO "job_steps" VALUES(32,6,'kept back','analysing','not sent','host:71','1 results','2026-11-29 00:24:48.153470');
CREATE TABLE jobs (
	job_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_uid VARCHAR(64) NOT NULL, 
	source_ae VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	revision INTEGER NOT NULL, 
	priority INTEGER NOT NULL, 
	analysis_attempts INTEGER NOT NULL, 
	delivery_attempts INTEGER NOT NULL, 
	leased_by TEXT NOT NULL, 
	heartbeat BIGINT NOT NULL, 
	wait_s FLOAT NOT NULL, 
	reason TEXT NOT NULL, 
	error_family VARCHAR(32) NOT NULL, 
	weights TEXT NOT NULL, 
	predecessor_id INTEGER, 
	created_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	instances INTEGER NOT NULL, priority_by TEXT DEFAULT '' NOT NULL, weights_wanted TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT ck_jobs_ck_jobs_priority CHECK (priority BETWEEN 0 AND 9), 
	CONSTRAINT fk_jobs_predecessor_id FOREIGN KEY(predecessor_id) REFERENCES jobs (job_id)
);
INSERT INTO "jobs" VALUES(1,'1.2.10','PACS','delivered',6,5,1,1,'',3,0.0,'','','contour 0.2.0, lesion 0.2.0',NULL,'2026-11-29 00:24:47.958606','2026-11-29 00:24:48.013707',1,'','');
INSERT INTO "jobs" VALUES(2,'1.2.11','PACS','rejected',4,5,1,0,'',0,0.0,'The study has no usable coronal STIR series; a T1 and a STIR are needed. Series received: 1.2.3.2 is a T1 (TR 550, TE 11 ms). Send what is missing.','InputRejected','',NULL,'2026-11-29 00:24:48.017878','2026-11-29 00:24:48.029088',1,'','');
INSERT INTO "jobs" VALUES(3,'1.2.12','PACS','failed',4,5,1,0,'',0,0.0,'The analysis stopped: <script>alert("x")</script><img src=x onerror=alert(1)>','InternalFault','',NULL,'2026-11-29 00:24:48.033753','2026-11-29 00:24:48.045083',1,'','');
INSERT INTO "jobs" VALUES(4,'1.2.13','PACS','delivering',6,5,1,1,'',0,60.0,'PACS at pacs:104 cannot be reached: check that it runs.','TemporarilyUnavailable','contour 0.2.0',NULL,'2026-11-29 00:24:48.049712','2026-11-29 00:24:48.081101',1,'','');
INSERT INTO "jobs" VALUES(5,'1.2.14','PACS','analysing',3,5,1,0,'host:71',0,0.0,'','','',NULL,'2026-11-29 00:24:48.085756','2026-11-29 00:24:48.093447',1,'','');
INSERT INTO "jobs" VALUES(6,'1.2.15','PACS','not sent',4,7,1,0,'',0,0.0,'','','contour 0.2.0, lesion 0.2.0',NULL,'2026-11-29 00:24:48.097694','2026-11-29 00:24:48.153470',1,'','');
INSERT INTO "jobs" VALUES(7,'1.2.16','PACS','queued',2,5,0,0,'',0,0.0,'','','',NULL,'2026-11-29 00:24:48.105775','2026-11-29 00:24:48.141808',1,'','');
INSERT INTO "jobs" VALUES(8,'1.2.17','PACS','cancelled',3,5,0,0,'',0,0.0,'','','',NULL,'2026-11-29 00:24:48.110046','2026-11-29 00:24:48.117094',1,'','');
CREATE TABLE processes (
	name TEXT NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	version TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	beaten_at DATETIME NOT NULL, 
	device TEXT NOT NULL, 
	gpu_used_mb FLOAT, 
	gpu_total_mb FLOAT, 
	job_id INTEGER, 
	weights TEXT NOT NULL, 
	weights_sha256 TEXT NOT NULL, 
	CONSTRAINT pk_processes PRIMARY KEY (name)
);
INSERT INTO "processes" VALUES('host:2152','worker','host',2152,'0.1.0','2026-11-29 00:24:48.173024','2026-11-29 00:24:48','',NULL,NULL,NULL,'','');
CREATE TABLE refusals (
	refusal_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DATETIME NOT NULL, 
	source_ae TEXT NOT NULL, 
	address TEXT NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	study_uid TEXT NOT NULL, 
	status INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	quarantined_as TEXT NOT NULL, 
	"conflict" BOOLEAN NOT NULL
);
INSERT INTO "refusals" VALUES(1,'2026-11-29 00:24:48.120973','<b>EVIL</b>','192.0.2.7','','',0,'unknown title <script>alert("x")</script><img src=x onerror=alert(1)>','',0);
INSERT INTO "refusals" VALUES(2,'2026-11-29 00:24:48.161114','PACS','10.0.0.1','1.2.10.9.1','1.2.10',43264,'pixels differ','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',0);
CREATE TABLE results (
	sop_instance_uid VARCHAR(64) NOT NULL, 
	job_id INTEGER NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	series_uid VARCHAR(64) NOT NULL, 
	file_name TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_results PRIMARY KEY (sop_instance_uid), 
	CONSTRAINT fk_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
INSERT INTO "results" VALUES('1.2.10.8.0',1,'1.2.840.10008.5.1.4.1.1.88.33','scores','1.2.10.8','f2a082e57908e68965ca6491c03f14d7be3a44cc2786450c01ab0153281a4aa7.dcm','255aac2a879ac29ed4905172f2e32074beab1067766b0b0ccc0fc5807650992c',476,'1.2.840.10008.1.2.1');
INSERT INTO "results" VALUES('1.2.10.8.1',1,'1.2.840.10008.5.1.4.1.1.88.33','seg t1','1.2.10.8','347da00133167e2d68ba7cdc3293cd60d49e61bd509578b6762db328661feb7d.dcm','c47c37c9aa08bcda693e494ebe47928d127a3315a8694bf3a452fc9f7a4fa8e4',476,'1.2.840.10008.1.2.1');
INSERT INTO "results" VALUES('1.2.10.8.2',1,'1.2.840.10008.5.1.4.1.1.88.33','seg stir','1.2.10.8','edb589a7eb08593417ab7fcc0466d982ac6a4915413e89f0bd0f6e7c2cd533be.dcm','8c3912f737fc38b7f5fd6c0d93941423e451996518cbd1255e1dd27fc1b4dbfe',476,'1.2.840.10008.1.2.1');
INSERT INTO "results" VALUES('1.2.13.8.0',4,'1.2.840.10008.5.1.4.1.1.88.33','scores','1.2.13.8','4fd915643f4a4cb3736149a92d1666df6add2a4b163d9338b4e071d4cdce93ab.dcm','be3c60c7a654079c25a4c94dd501d1d21ed59b9bef80c5c5bde4a1da8dc64c09',476,'1.2.840.10008.1.2.1');
INSERT INTO "results" VALUES('1.2.15.8.0',6,'1.2.840.10008.5.1.4.1.1.88.33','scores','1.2.15.8','afdfacae3cfe47518ff95d42e9e0a0c9fbcc5cb0f6058a15c655c07fae4f4eb8.dcm','6174a3cf1934cf5a043c1574e8c0d56b685e6d80a7db6a2d7a5c19d191d26b0a',476,'1.2.840.10008.1.2.1');
CREATE TABLE sessions (
	secret_hash VARCHAR(64) NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	address TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (secret_hash), 
	CONSTRAINT fk_sessions_user_name FOREIGN KEY(user_name) REFERENCES users (name)
);
INSERT INTO "sessions" VALUES('d82e57cbd7c5d30e16350c5f75cb8e81f6b1b4ca69f4c5af33f1989bd94a8395','anna','127.0.0.1','2026-11-29 00:24:48.257010','2026-11-29 00:24:48.257010');
INSERT INTO "sessions" VALUES('e2c71c13831151f470fd428bfeaf2182aa239f113135f24b823804502cf9bb86','anna','127.0.0.1','2026-11-29 00:24:48.261847','2026-11-29 00:24:48.261847');
CREATE TABLE tallies (
	counted VARCHAR(32) NOT NULL, 
	peer VARCHAR(16) NOT NULL, 
	outcome VARCHAR(64) NOT NULL, 
	total BIGINT NOT NULL, 
	CONSTRAINT pk_tallies PRIMARY KEY (counted, peer, outcome)
);
INSERT INTO "tallies" VALUES('c-store received','PACS','0x0000',1);
CREATE TABLE tokens (
	token_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	secret_hash VARCHAR(64) NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	label TEXT NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	used_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT fk_tokens_user_name FOREIGN KEY(user_name) REFERENCES users (name), 
	CONSTRAINT uq_tokens_secret_hash UNIQUE (secret_hash)
);
INSERT INTO "tokens" VALUES(1,'fa8c56d2f3db000d3ba3683fea1a53398e85aef63a0208eeee80d1e1b2a5defd','anna','script','viewer','2026-11-29 00:24:48.266619','2027-11-30 00:24:48.266619',NULL,NULL);
CREATE TABLE users (
	name VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	password_hash TEXT NOT NULL, 
	openid_subject TEXT NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (name)
);
INSERT INTO "users" VALUES('anna','operator','$argon2id$v=19$m=64,t=1,p=1$uqKqEAA6TW9EKOx0gO4lzg$KhPP5V7/y0MBPVHykSM6g9jOzL41MGGsVgQElpKgFsk','',0,'2026-11-29 00:24:48.230092');
INSERT INTO "users" VALUES('ben','viewer','','',0,'2026-11-29 00:24:48.273122');
CREATE INDEX ix_instances_study_uid ON instances (study_uid);
CREATE INDEX ix_jobs_queue ON jobs (state, priority, job_id);
CREATE INDEX ix_jobs_study_uid_source_ae ON jobs (study_uid, source_ae);
CREATE UNIQUE INDEX one_open_job ON jobs (study_uid, source_ae) WHERE state IN ('receiving', 'queued');
CREATE INDEX ix_refusals_study_uid ON refusals (study_uid);
CREATE INDEX ix_job_steps_job_id ON job_steps (job_id);
CREATE INDEX ix_results_job_id ON results (job_id);
CREATE INDEX ix_deliveries_result_uid_destination ON deliveries (result_uid, destination);
CREATE INDEX ix_job_steps_at ON job_steps (at);
CREATE INDEX ix_deliveries_pending ON deliveries (destination, job_id) WHERE state = 'pending';
CREATE UNIQUE INDEX one_openid_subject ON users (openid_subject) WHERE openid_subject <> '';
CREATE INDEX ix_sessions_user_name ON sessions (user_name);
CREATE INDEX ix_tokens_user_name ON tokens (user_name);
CREATE UNIQUE INDEX one_hold ON holds (destination) WHERE released_at IS NULL;
CREATE INDEX ix_instances_patient_id ON instances (patient_id);
CREATE INDEX ix_jobs_state_job_id ON jobs (state, job_id);
CREATE INDEX ix_jobs_source_ae_job_id ON jobs (source_ae, job_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',8);
INSERT INTO "sqlite_sequence" VALUES('changes',7);
INSERT INTO "sqlite_sequence" VALUES('refusals',2);
INSERT INTO "sqlite_sequence" VALUES('holds',1);
INSERT INTO "sqlite_sequence" VALUES('tokens',1);
COMMIT;
