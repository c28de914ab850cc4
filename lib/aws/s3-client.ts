/**
 * The one place where S3 clients are made, since what every one of them must not do is decided here: correct its clock.
 *
 * By default the SDK measures how far this machine's clock is off and signs with S3's time instead. The ULIDs of deltas
 * and the time of a LIST would still be the wrong clock's, and the low watermark could pass acknowledged deltas
 * (docs/protocol.md, "Low watermark"). Uncorrected, S3 itself refuses every request of a clock that is more than 15
 * minutes off, before anything is read or written; failure.ts says what to do about it.
 */
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { patience, type S3Bounds, s3SocketsMax } from "./request-handler.ts";

/** `bounds`: how long it waits for S3, and over how many connections. */
export const s3Client = (bounds: S3Bounds, config: S3ClientConfig = {}): S3Client =>
  new S3Client({
    ...patience(bounds, bounds.sockets ?? s3SocketsMax),
    ...config,
    disableClockSkewCorrection: true,
  });
