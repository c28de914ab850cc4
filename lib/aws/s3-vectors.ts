/** Amazon S3 Vectors, as far as an import reads it. */
import { GetIndexCommand, ListVectorsCommand, S3VectorsClient } from "@aws-sdk/client-s3vectors";
import { SiltstoneError } from "../core/model/errors.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure } from "./failure.ts";
import { patience, socketsMax } from "./request-handler.ts";

export class AwsS3Vectors {
  readonly #client = new S3VectorsClient(patience(requestBounds.person, socketsMax));

  async index(bucket: string, name: string): Promise<{ dims: number; metric: string; createdAt: string }> {
    const call = new GetIndexCommand({ vectorBucketName: bucket, indexName: name });
    const { index } = await this.#client.send(call).catch((error: unknown) => {
      throw refused("GetIndex", bucket, name, error);
    });
    const { dimension, distanceMetric, creationTime } = index!;
    return { dims: dimension!, metric: distanceMetric!, createdAt: creationTime!.toISOString() };
  }

  async list(
    bucket: string,
    name: string,
    { segment, segments, token }: { segment: number; segments: number; token: string | null },
  ) {
    const call = new ListVectorsCommand({
      vectorBucketName: bucket,
      indexName: name,
      segmentCount: segments,
      segmentIndex: segment,
      returnData: true,
      returnMetadata: true,
      ...(token === null ? {} : { nextToken: token }),
    });
    const { vectors, nextToken } = await this.#client.send(call).catch((error: unknown) => {
      throw refused("ListVectors", bucket, name, error);
    });
    return {
      vectors: (vectors ?? []).map(({ key, data, metadata }) => ({
        key: key!,
        values: data?.float32 ?? null,
        metadata: (metadata ?? null) as Readonly<Record<string, unknown>> | null,
      })),
      token: nextToken ?? null,
    };
  }
}

function refused(operation: string, bucket: string, name: string, error: unknown): SiltstoneError {
  const subject = `${bucket}/${name}`;
  if ((error as Error).name === "NotFoundException")
    return new SiltstoneError("notFound", `S3 Vectors has no index ${subject}`, { cause: error });
  const permission = "s3vectors:GetIndex, s3vectors:ListVectors and s3vectors:GetVectors";
  return failure(error, { call: `S3 Vectors ${operation}`, subject, writes: false, permission });
}
