/**
 * Buckets, object versions and uploads in one SQLite file. A row is what makes a version exist, and each change is one
 * synchronous transaction, so conditions are checked and applied in one step, and a kill at any moment leaves the state
 * before or after. SQLite compares BLOB keys by memcmp, which is S3's list order.
 *
 * Every method that takes bodies out of use returns them; the caller deletes the files after the commit.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Body } from "./body-files.ts";
import {
  type Bucket,
  type Change,
  type NewObject,
  type ObjectAttributes,
  type ObjectVersion,
  type ScanStart,
  schema,
  type Versioning,
} from "./catalog-rows.ts";
import { checkCondition, type WriteCondition } from "./conditions.ts";
import { S3Error } from "./error.ts";

type Row = Record<string, unknown>;

export class Catalog {
  readonly database: DatabaseSync;
  private readonly statements = new Map<string, StatementSync>();
  private readonly nowMs: () => number;

  constructor(folder: string, nowMs: () => number) {
    // A server that was just killed may hold the file for another moment.
    this.database = new DatabaseSync(join(folder, "catalog.db"), { timeout: 3000 });
    this.database.exec(schema);
    this.nowMs = nowMs;
  }

  close(): void {
    this.database.close();
  }

  /** Statements are prepared once. */
  sql(text: string): StatementSync {
    const known = this.statements.get(text);
    if (known) return known;
    const statement = this.database.prepare(text);
    this.statements.set(text, statement);
    return statement;
  }

  transaction<T>(work: () => T): T {
    this.database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.database.exec("COMMIT");
      return result;
    } catch (error) {
      this.database.exec("ROLLBACK");
      throw error;
    }
  }

  buckets(): Bucket[] {
    return this.sql("SELECT * FROM buckets ORDER BY name").all().map(toBucket);
  }

  bucket(name: string): Bucket {
    const row = this.sql("SELECT * FROM buckets WHERE name = ?").get(name);
    if (!row) throw new S3Error("NoSuchBucket", `The specified bucket does not exist: ${name}`);
    return toBucket(row);
  }

  createBucket(name: string): void {
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name)) {
      throw new S3Error("InvalidBucketName", `The specified bucket is not valid: ${name}`);
    }
    const made = this.sql("INSERT OR IGNORE INTO buckets VALUES (?, ?, 'none')").run(name, this.nowMs());
    if (made.changes === 0)
      throw new S3Error("BucketAlreadyOwnedByYou", `The bucket exists and is yours: ${name}`);
  }

  deleteBucket(name: string): void {
    this.bucket(name);
    if (this.sql("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1").get(name)) {
      throw new S3Error("BucketNotEmpty", `The bucket you tried to delete is not empty: ${name}`);
    }
    this.sql("DELETE FROM buckets WHERE name = ?").run(name);
  }

  setVersioning(name: string, versioning: Versioning): void {
    this.sql("UPDATE buckets SET versioning = ? WHERE name = ?").run(versioning, this.bucket(name).name);
  }

  /** The current version (which may be a delete marker), or the one named. */
  find(bucket: string, key: Buffer, versionId?: string): ObjectVersion | null {
    const row =
      versionId === undefined
        ? this.sql("SELECT * FROM versions WHERE bucket = ? AND key = ? AND is_latest = 1").get(bucket, key)
        : this.sql("SELECT * FROM versions WHERE bucket = ? AND key = ? AND version_id = ?").get(
            bucket,
            key,
            versionId,
          );
    return row ? this.toVersion(row, true) : null;
  }

  /** Writes a new current version, if the condition holds at this very moment. */
  put(bucket: Bucket, key: Buffer, object: NewObject, condition: WriteCondition): Change {
    return this.transaction(() => this.putInTransaction(bucket, key, object, condition));
  }

  putInTransaction(bucket: Bucket, key: Buffer, object: NewObject, condition: WriteCondition): Change {
    checkCondition(this.find(bucket.name, key), condition);
    return this.insert(bucket, key, object, false);
  }

  private insert(bucket: Bucket, key: Buffer, object: NewObject, isDeleteMarker: boolean): Change {
    // Without versioning there is one version, called null; suspended versioning writes that one again.
    const versionId = bucket.versioning === "enabled" ? randomUUID().replaceAll("-", "") : "null";
    const discarded = versionId === "null" ? this.remove(bucket.name, key, "null") : [];
    this.sql("UPDATE versions SET is_latest = 0 WHERE bucket = ? AND key = ? AND is_latest = 1").run(
      bucket.name,
      key,
    );
    const { headers, checksums, body } = object;
    const { lastInsertRowid } = this.sql(
      "INSERT INTO versions (bucket, key, version_id, is_latest, is_marker, bytes, etag, modified_ms, attributes, files) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
    ).run(
      bucket.name,
      key,
      versionId,
      isDeleteMarker ? 1 : 0,
      object.bytes,
      object.etag,
      // S3 tells no finer time.
      Math.floor(this.nowMs() / 1_000) * 1_000,
      JSON.stringify({ headers, checksums }),
      body.kind === "files" ? JSON.stringify(body.files) : null,
    );
    if (body.kind === "inline") {
      this.sql("INSERT INTO inline_bodies VALUES (?, ?)").run(lastInsertRowid, body.data);
    }
    return { versionId, isDeleteMarker, discarded };
  }

  /** Deletes the named version for good, or the current object: by a delete marker where versions are kept. */
  delete(bucket: Bucket, key: Buffer, versionId: string | undefined, condition: WriteCondition): Change {
    return this.transaction(() => {
      checkCondition(this.find(bucket.name, key), condition);
      if (versionId !== undefined) {
        const isDeleteMarker = this.find(bucket.name, key, versionId)?.isDeleteMarker ?? false;
        const discarded = this.remove(bucket.name, key, versionId);
        this.sql(
          "UPDATE versions SET is_latest = 1 WHERE sequence = (SELECT max(sequence) FROM versions WHERE bucket = ? AND key = ?)",
        ).run(bucket.name, key);
        return { versionId, isDeleteMarker, discarded };
      }
      if (bucket.versioning === "none") {
        return { versionId: "null", isDeleteMarker: false, discarded: this.remove(bucket.name, key, "null") };
      }
      const marker: NewObject = { body: emptyBody, bytes: 0, etag: "", headers: {}, checksums: {} };
      return this.insert(bucket, key, marker, true);
    });
  }

  private remove(bucket: string, key: Buffer, versionId: string): Body[] {
    const old = this.sql(
      "DELETE FROM versions WHERE bucket = ? AND key = ? AND version_id = ? RETURNING *",
    ).get(bucket, key, versionId);
    if (!old) return [];
    this.sql("DELETE FROM inline_bodies WHERE sequence = ?").run(old.sequence as number);
    return [this.toVersion(old, false).body];
  }

  /** Current objects with the prefix, ascending, without their bodies. */
  scan(bucket: string, prefix: Buffer, start: ScanStart, limit: number): ObjectVersion[] {
    return this.sql(
      `SELECT * FROM versions WHERE bucket = ? AND is_latest = 1 AND is_marker = 0 AND key >= ? AND key ${start.inclusive ? ">=" : ">"} ? AND (? IS NULL OR key < ?) ORDER BY key LIMIT ?`,
    )
      .all(bucket, prefix, start.key, keyAfterPrefix(prefix), keyAfterPrefix(prefix), limit)
      .map((row) => this.toVersion(row, false));
  }

  /**
   * Every version with the prefix: keys ascending, newest first within a key. `behindVersion` goes on inside
   * `start.key`, behind that version.
   */
  scanVersions(
    bucket: string,
    prefix: Buffer,
    start: ScanStart,
    behindVersion: string,
    limit: number,
  ): ObjectVersion[] {
    return this.sql(
      `SELECT * FROM versions WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) AND (key ${start.inclusive ? ">=" : ">"} ?
         OR key = ? AND sequence < (SELECT sequence FROM versions WHERE bucket = ? AND key = ? AND version_id = ?))
       ORDER BY key, sequence DESC LIMIT ?`,
    )
      .all(
        bucket,
        prefix,
        keyAfterPrefix(prefix),
        keyAfterPrefix(prefix),
        start.key,
        start.key,
        bucket,
        start.key,
        behindVersion,
        limit,
      )
      .map((row) => this.toVersion(row, false));
  }

  /** Names of all body files that some row still needs. */
  namedFiles(): Set<string> {
    const names = new Set<string>();
    const rows = this.sql(
      "SELECT files FROM versions WHERE files NOT NULL UNION ALL SELECT files FROM parts",
    );
    for (const row of rows.iterate()) {
      for (const { name } of JSON.parse(row.files as string) as { name: string }[]) names.add(name);
    }
    return names;
  }

  private toVersion(row: Row, withBody: boolean): ObjectVersion {
    const attributes = JSON.parse(row.attributes as string) as ObjectAttributes;
    return {
      ...attributes,
      key: Buffer.from(row.key as Uint8Array),
      versionId: row.version_id as string,
      isLatest: row.is_latest === 1,
      isDeleteMarker: row.is_marker === 1,
      bytes: row.bytes as number,
      etag: row.etag as string,
      modifiedMs: row.modified_ms as number,
      body: row.files
        ? { kind: "files", files: JSON.parse(row.files as string) }
        : withBody
          ? { kind: "inline", data: this.inlineData(row.sequence as number) }
          : emptyBody,
    };
  }

  private inlineData(sequence: number): Buffer {
    const row = this.sql("SELECT data FROM inline_bodies WHERE sequence = ?").get(sequence);
    return row ? Buffer.from(row.data as Uint8Array) : Buffer.alloc(0);
  }
}

const emptyBody: Body = { kind: "inline", data: Buffer.alloc(0) };

/** The first key behind all keys with the prefix; null when there is none. */
export function keyAfterPrefix(prefix: Buffer): Buffer | null {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return null;
  const next = Buffer.from(prefix.subarray(0, length));
  next[length - 1]!++;
  return next;
}

function toBucket(row: Row): Bucket {
  return {
    name: row.name as string,
    createdMs: row.created_ms as number,
    versioning: row.versioning as Versioning,
  };
}
