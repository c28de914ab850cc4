/** The local S3 that started this process (reader-client.ts), through the product's own adapter; no table and no queue. */
import { type AwsWorld, awsWorld } from "../../lib/aws/aws-world.ts";

export const servedWorld = (): AwsWorld =>
  awsWorld({
    bucket: process.env.BENCH_BUCKET!,
    table: "none",
    queueUrl: "http://127.0.0.1:1/none",
    deadLetterQueueUrl: "http://127.0.0.1:1/none",
  });
