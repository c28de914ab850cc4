/** Copies an object in the service: a small one in one request, a large one part by part. */

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import pLimit from "p-limit";

/**
 * A larger object is copied in parts of this size, or of as much more as their number demands. S3 copies up to 5 GB in one
 * request, but sends no answer for so long that it seems to send no answer.
 */
const copyPartBytes = 256 * 1024 * 1024;
const copyPartsMax = 10_000;
const copyPartsAtOnce = 16;

/** The object to copy as it was looked at: what has another etag by now is not copied. */
export interface CopyOf {
  readonly bucket: string;
  /** Where it is copied from, where that is another bucket. */
  readonly fromBucket?: string;
  /** Never over what is there. */
  readonly ifAbsent?: boolean;
  readonly from: string;
  readonly to: string;
  readonly etag: string;
  readonly bytes: number;
}

export async function copyObject(
  client: S3Client,
  { bucket, fromBucket = bucket, from, to, etag, bytes, ifAbsent = false }: CopyOf,
): Promise<void> {
  const condition = ifAbsent ? { IfNoneMatch: "*" } : {};
  const what = {
    Bucket: bucket,
    Key: to,
    CopySource: `${fromBucket}/${from.split("/").map(encodeURIComponent).join("/")}`,
    CopySourceIfMatch: etag,
  };
  if (bytes > copyPartBytes) return copyParts(client, what, { bytes, condition });
  // Neither tags nor metadata: a copy with tags takes rights that nothing else does.
  const replace = { MetadataDirective: "REPLACE", TaggingDirective: "REPLACE" } as const;
  await client.send(new CopyObjectCommand({ ...what, ...replace, ...condition }));
}

async function copyParts(
  client: S3Client,
  {
    CopySource,
    CopySourceIfMatch,
    ...target
  }: Record<"Bucket" | "Key" | "CopySource" | "CopySourceIfMatch", string>,
  { bytes, condition }: { bytes: number; condition: { IfNoneMatch?: string } },
): Promise<void> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
  const upload = { ...target, UploadId };
  const partBytes = Math.max(copyPartBytes, Math.ceil(bytes / copyPartsMax));
  const limit = pLimit(copyPartsAtOnce);
  const copyPart = async (PartNumber: number) => {
    const start = (PartNumber - 1) * partBytes;
    const CopySourceRange = `bytes=${start}-${Math.min(bytes, start + partBytes) - 1}`;
    const answer = await client.send(
      new UploadPartCopyCommand({ ...upload, CopySource, CopySourceIfMatch, PartNumber, CopySourceRange }),
    );
    return { PartNumber, ETag: answer.CopyPartResult!.ETag! };
  };
  try {
    const numbers = Array.from({ length: Math.ceil(bytes / partBytes) }, (_, i) => i + 1);
    const Parts = await Promise.all(numbers.map((number) => limit(() => copyPart(number))));
    await client.send(
      new CompleteMultipartUploadCommand({ ...upload, ...condition, MultipartUpload: { Parts } }),
    );
  } catch (error) {
    limit.clearQueue();
    // What is left of it the bucket's lifecycle rule removes.
    await client.send(new AbortMultipartUploadCommand(upload)).catch(() => {});
    throw error;
  }
}
