/** The rows of the S3 server's catalog: what they mean, and the tables that hold them. */
import type { Body } from "./body-files.ts";
import type { Checksums } from "./checksums.ts";

export type Versioning = "none" | "enabled" | "suspended";
export interface Bucket {
  readonly name: string;
  readonly createdMs: number;
  readonly versioning: Versioning;
}
/** What a writer says about an object beside its bytes. */
export interface ObjectAttributes {
  /** Response headers that are given back as they came: content-type, cache-control, x-amz-meta-… */
  readonly headers: Readonly<Record<string, string>>;
  readonly checksums: Checksums;
}
export interface NewObject extends ObjectAttributes {
  readonly body: Body;
  readonly bytes: number;
  readonly etag: string;
}
export interface ObjectVersion extends NewObject {
  readonly key: Buffer;
  readonly versionId: string;
  readonly isLatest: boolean;
  readonly isDeleteMarker: boolean;
  readonly modifiedMs: number;
}
export interface Change {
  readonly versionId: string;
  readonly isDeleteMarker: boolean;
  readonly discarded: readonly Body[];
}
/** Where a scan begins: at a key, or behind it. */
export interface ScanStart {
  readonly key: Buffer;
  readonly inclusive: boolean;
}

/** Run at every start. The lock is taken by the first transaction and kept: no second server gets into the folder. */
export const schema = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, versioning TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS versions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, bucket TEXT NOT NULL, key BLOB NOT NULL, version_id TEXT NOT NULL,
    is_latest INTEGER NOT NULL, is_marker INTEGER NOT NULL, bytes INTEGER NOT NULL, etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL, attributes TEXT NOT NULL, files TEXT);
  CREATE UNIQUE INDEX IF NOT EXISTS latest ON versions (bucket, key) WHERE is_latest = 1;
  CREATE UNIQUE INDEX IF NOT EXISTS by_version ON versions (bucket, key, version_id);
  CREATE TABLE IF NOT EXISTS inline_bodies (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, attributes TEXT NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, bytes INTEGER NOT NULL, etag TEXT NOT NULL, modified_ms INTEGER NOT NULL,
    checksums TEXT NOT NULL, files TEXT NOT NULL, PRIMARY KEY (upload, number));
  BEGIN EXCLUSIVE;
  COMMIT;
`;
