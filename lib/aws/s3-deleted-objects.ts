/**
 * What was deleted from a versioned bucket: S3 keeps an object's versions below a delete marker until the bucket's lifecycle
 * rule removes them. For the command line alone: no function may read old versions.
 */
import { GetObjectCommand, ListObjectVersionsCommand, type S3Client } from "@aws-sdk/client-s3";
import { SiltstoneError } from "../core/model/errors.ts";
import type { ByteRange, DeletedObject, DeletedObjects } from "../engine/ports.ts";
import { failure, statusOf } from "./failure.ts";

/** 100 million versions. */
const listPagesMax = 100_000;

export class S3DeletedObjects implements DeletedObjects {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #pageVersions: number;

  /** @param pageVersions as many versions, and markers, does one request list: at most 1,000 */
  constructor(client: S3Client, bucket: string, pageVersions = 1_000) {
    this.#client = client;
    this.#bucket = bucket;
    this.#pageVersions = pageVersions;
  }

  async *list(
    prefix: string,
    { startAfter }: { startAfter: string },
  ): AsyncIterable<readonly DeletedObject[]> {
    let next: { KeyMarker?: string; VersionIdMarker?: string } = { KeyMarker: startAfter };
    // A key's newest version comes first; its others may come on the next page.
    let last = "";
    for (let pages = 0; pages < listPagesMax; pages++) {
      const page = await this.#page(prefix, next);
      const found: DeletedObject[] = [];
      for (const { Key, VersionId, Size, IsLatest } of page.Versions ?? []) {
        if (Key !== last && IsLatest !== true) found.push({ key: Key!, bytes: Size!, versionId: VersionId! });
        last = Key!;
      }
      if (found.length > 0) yield found;
      if (page.IsTruncated !== true) return;
      next = {
        KeyMarker: page.NextKeyMarker!,
        ...(page.NextVersionIdMarker ? { VersionIdMarker: page.NextVersionIdMarker } : {}),
      };
    }
    throw new SiltstoneError(
      "unavailable",
      `S3 ListObjectVersions s3://${this.#bucket}/${prefix}: no end after ${listPagesMax} pages`,
    );
  }

  async get({ key, versionId }: DeletedObject, range?: ByteRange): Promise<Buffer | null> {
    try {
      const command = new GetObjectCommand({
        Bucket: this.#bucket,
        Key: key,
        VersionId: versionId,
        ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.limit - 1}` }),
      });
      const answer = await this.#client.send(command);
      return Buffer.from(await answer.Body!.transformToByteArray());
    } catch (error) {
      if (statusOf(error) === 404) return null;
      throw this.#failure(error, "GetObject", key, "s3:GetObjectVersion");
    }
  }

  #page(prefix: string, next: { KeyMarker?: string; VersionIdMarker?: string }) {
    const command = new ListObjectVersionsCommand({
      Bucket: this.#bucket,
      Prefix: prefix,
      MaxKeys: this.#pageVersions,
      ...next,
    });
    return this.#client.send(command).catch((error: unknown) => {
      throw this.#failure(error, "ListObjectVersions", prefix, "s3:ListBucketVersions");
    });
  }

  #failure(error: unknown, operation: string, key: string, permission: string): SiltstoneError {
    const subject = `s3://${this.#bucket}/${key}`;
    return failure(error, { call: `S3 ${operation}`, subject, writes: false, permission });
  }
}
