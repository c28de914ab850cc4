/**
 * Where the AWS contract suites run: always over the local stack's servers, and over real AWS as well when
 * CONTRACT_AWS=1 and CONTRACT_BUCKET name a versioned bucket to write to (below a prefix of its own, cleaned up).
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { startS3Server } from "../../scripts/local/s3/server.ts";

export interface S3Target {
  readonly s3: S3Client;
  /** A bucket with versioning enabled. */
  readonly bucket: string;
  /** Every key of the suite starts with it. */
  readonly prefix: string;
  readonly isLocal: boolean;
  close(): Promise<void>;
}

export const localCredentials = { accessKeyId: "local", secretAccessKey: "local" };

async function localS3(): Promise<S3Target> {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-s3-"));
  const server = await startS3Server({ folder, port: 0, region: "us-east-1" });
  const s3 = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials: localCredentials });
  const bucket = "contract";
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: "Enabled" } }),
  );
  const close = async () => {
    s3.destroy();
    await server.stop();
    rmSync(folder, { recursive: true });
  };
  return { s3, bucket, prefix: "suite/", isLocal: true, close };
}

async function realS3(): Promise<S3Target> {
  const s3 = new S3Client({});
  const bucket = process.env.CONTRACT_BUCKET!;
  const prefix = `siltstone-contract/${randomUUID()}/`;
  const close = async () => {
    for (let page = 0; page < 20; page++) {
      const { Versions, DeleteMarkers } = await s3.send(
        new ListObjectVersionsCommand({ Bucket: bucket, Prefix: prefix }),
      );
      const left = [...(Versions ?? []), ...(DeleteMarkers ?? [])];
      if (left.length === 0) break;
      for (const { Key, VersionId } of left) {
        await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key, VersionId }));
      }
    }
    s3.destroy();
  };
  return { s3, bucket, prefix, isLocal: false, close };
}

const runsOnAws = process.env.CONTRACT_AWS === "1";
if (runsOnAws && !process.env.CONTRACT_BUCKET) {
  throw new Error("CONTRACT_AWS=1 also needs CONTRACT_BUCKET, the name of a versioned bucket to write to.");
}
if (!runsOnAws) console.info("The contract's AWS half is skipped: CONTRACT_AWS is not 1.");

export const s3Targets: readonly (readonly [name: string, open: () => Promise<S3Target>])[] = [
  ["the local S3 server", localS3],
  ...(runsOnAws ? ([["Amazon S3", realS3]] as const) : []),
];
