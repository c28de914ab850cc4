/** The body of an object, read whole into memory, within a bound. */
import type { Readable } from "node:stream";
import type { GetObjectCommand, GetObjectCommandOutput, S3Client } from "@aws-sdk/client-s3";
import type { Traffic } from "../engine/traffic.ts";

export interface Answered {
  readonly answer: GetObjectCommandOutput;
  /** Null, and the connection dropped, when it has more bytes than the bound. */
  readonly body: Buffer | null;
}

/** A body that breaks off is asked for again; the SDK retries only up to the headers. */
export async function readWhole(
  client: S3Client,
  command: GetObjectCommand,
  { bytesMax, attempts }: { readonly bytesMax: number; readonly attempts: number },
  traffic: Traffic,
): Promise<Answered> {
  for (let attempt = 1; ; attempt++) {
    let answered = false;
    try {
      const answer = await client.send(command);
      answered = true;
      if (answer.ContentLength! > bytesMax) {
        (answer.Body as Readable).destroy();
        return { answer, body: null };
      }
      const bytes = await answer.Body!.transformToByteArray();
      traffic.read(bytes.length);
      return { answer, body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) };
    } catch (error) {
      if (!answered || attempt === attempts) throw error;
    }
  }
}
