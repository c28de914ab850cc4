/** Copies from the bucket of one store into that of another, in S3. */
import { HeadObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { copyObject } from "./s3-copy.ts";
import { isAbsent, isDenied, isPreconditionFailed, s3Failure } from "./s3-failure.ts";

/** `client` writes to the one and reads the other. What is there already with the same size is a first attempt's. */
export const s3CopyAcross =
  (client: S3Client, buckets: { readonly from: string; readonly to: string }) =>
  async (from: string, to: string): Promise<{ bytes: number } | null | "refused"> => {
    const sizeOf = async (bucket: string, key: string) => {
      const { ContentLength: bytes, ETag: etag } = await client.send(
        new HeadObjectCommand({ Bucket: bucket, Key: key }),
      );
      return { bytes: bytes!, etag: etag! };
    };
    try {
      const source = await sizeOf(buckets.from, from);
      const copy = { bucket: buckets.to, fromBucket: buckets.from, from, to, ...source, ifAbsent: true };
      await copyObject(client, copy).catch(async (error: unknown) => {
        const isThere = isPreconditionFailed(error) && (await sizeOf(buckets.to, to)).bytes === source.bytes;
        if (!isThere) throw error;
      });
      return { bytes: source.bytes };
    } catch (error) {
      // HEAD has no body to say so in.
      const { name, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
      if (isDenied(error) || name === "Forbidden" || $metadata?.httpStatusCode === 403) return "refused";
      if (isAbsent(error)) return null;
      throw s3Failure(error, { operation: "CopyObject", subject: `s3://${buckets.from}/${from}` });
    }
  };
