/**
 * A file-backed S3 server for one laptop: conditional writes, versions, ranges, multipart, checksums, crash safety.
 *
 * 1. A request's body goes to a file, is hashed on the way, and is fsynced (body-files.ts).
 * 2. Its checksums are compared; then one SQLite transaction checks the condition and names the body (catalog.ts).
 * 3. Only then the answer goes out. A kill before 2 leaves a file without a name, swept at the next start.
 *
 * A web page is refused (../request-guard.ts), and a clock that is too far off (signed-time.ts). Who may do what is judged by
 * the access rules that it is given (authorization.ts). Not here: signatures, TLS, encryption, lifecycle rules.
 * `PUT /_local/fault-injection` sets throttle, faults and the server's clock.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { AccessControl, type AccessRules } from "../iam/access.ts";
import { guarded } from "../request-guard.ts";
import { accountId } from "../resource-names.ts";
import type { Answer } from "./answer.ts";
import { Authorization } from "./authorization.ts";
import { BodyFiles } from "./body-files.ts";
import * as buckets from "./buckets.ts";
import { Catalog } from "./catalog.ts";
import { S3Error } from "./error.ts";
import {
  type FaultInjection,
  FaultSource,
  hanging,
  Pacer,
  paced,
  parseFaultInjection,
} from "./fault-injection.ts";
import { listObjects, listVersions } from "./listing.ts";
import * as multipart from "./multipart.ts";
import { copyObject, deleteObject, deleteObjects, getObject, putObject, type Storage } from "./objects.ts";
import { parseRequest, type S3Request } from "./request.ts";
import { checkSignedTime, ServerTime } from "./signed-time.ts";
import { xmlError } from "./xml.ts";

export interface S3ServerOptions {
  /** Folder of the catalog and the bodies; made when absent. */
  readonly folder: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly region: string;
  readonly faultInjection?: FaultInjection;
  /** Which callers may do what. @default every caller may do everything */
  readonly access?: AccessRules;
}
export interface RunningS3 {
  readonly endpoint: string;
  readonly port: number;
  setFaultInjection(faultInjection: FaultInjection): void;
  stop(): Promise<void>;
}

export async function startS3Server(options: S3ServerOptions): Promise<RunningS3> {
  mkdirSync(options.folder, { recursive: true });
  const time = new ServerTime();
  const catalog = new Catalog(options.folder, () => time.nowMs());
  const bodies = new BodyFiles(options.folder);
  const named = catalog.namedFiles();
  bodies.sweep((file) => named.has(file));
  const handler = new Handler({ catalog, bodies }, time, options);
  handler.setFaultInjection(options.faultInjection ?? {});
  const server = createServer(guarded((request, response) => void handler.handle(request, response)));
  // SDK clients keep connections for long; a server that closes first makes them fail now and then.
  server.keepAliveTimeout = 10 * 60_000;
  server.requestTimeout = 0;
  const port = await listen(server, options.port);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    port,
    setFaultInjection: (faultInjection) => handler.setFaultInjection(faultInjection),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      catalog.close();
    },
  };
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Thrown to drop the connection without an answer. */
class DroppedConnection extends Error {}

class Handler {
  private readonly storage: Storage;
  private readonly region: string;
  private readonly time: ServerTime;
  private readonly authorization: Authorization;
  private faultInjection: FaultInjection = {};
  private faults = new FaultSource(undefined);
  private totalPacer: Pacer | null = null;

  constructor(
    storage: Storage,
    time: ServerTime,
    { region, access }: Pick<S3ServerOptions, "region" | "access">,
  ) {
    this.storage = storage;
    this.time = time;
    this.region = region;
    this.authorization = new Authorization(
      access === undefined ? null : new AccessControl(access, accountId),
    );
  }

  setFaultInjection(faultInjection: FaultInjection): void {
    this.faultInjection = faultInjection;
    this.time.aheadMs = faultInjection.clockAheadMs ?? 0;
    this.faults = new FaultSource(faultInjection.faults);
    const total = faultInjection.throttle?.totalBytesPerSecond;
    this.totalPacer = total === undefined ? null : new Pacer(total);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = randomBytes(8).toString("hex").toUpperCase();
    response.setHeader("x-amz-request-id", requestId);
    response.setHeader("date", new Date(this.time.nowMs()).toUTCString());
    try {
      if (request.url === "/_local/fault-injection")
        return await this.changeFaultInjection(request, response);
      checkSignedTime(request.headers, this.time.nowMs());
      const gone = new Promise<void>((resolve) => response.once("close", resolve));
      await this.send(response, await this.answer(parseRequest(request), gone));
    } catch (error) {
      if (error instanceof DroppedConnection || response.destroyed || response.headersSent) {
        response.destroy();
        return;
      }
      this.sendError(request, response, requestId, error);
    }
  }

  private async changeFaultInjection(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.setFaultInjection(parseFaultInjection(await buckets.readDocument(request)));
    response.writeHead(204).end();
  }

  /** The operation's answer, through whatever fault hits it. */
  private async answer(request: S3Request, gone: Promise<void>): Promise<Answer> {
    const fault = this.faults.draw(request.operation, request.key.toString());
    if (fault?.kind === "hang") {
      await gone;
      throw new DroppedConnection();
    }
    if (fault?.kind === "lostRequest") throw new DroppedConnection();
    if (fault?.kind === "slowDown") throw new S3Error("SlowDown", "Please reduce your request rate.");
    if (fault?.kind === "internalError")
      throw new S3Error("InternalError", "We encountered an internal error.");
    if (fault?.kind === "conflict") {
      throw new S3Error(
        "ConditionalRequestConflict",
        "A conflicting operation occurred during this request.",
      );
    }
    if (fault?.kind === "delay") await sleep(fault.delayMs ?? 0);
    this.authorization.check(request);
    const answer = await this.perform(request).catch((error: unknown) => {
      throw this.authorization.disclosed(request, error);
    });
    if (fault?.kind === "lostAnswer") throw new DroppedConnection();
    if (fault?.kind === "hangBody" && answer.body instanceof Readable)
      return { ...answer, body: Readable.from(hanging(answer.body, gone)) };
    return answer;
  }

  private async perform(request: S3Request): Promise<Answer> {
    const { storage, region } = this;
    const { catalog } = storage;
    const { bucket, query, body } = request;
    switch (request.operation) {
      case "ListBuckets":
        return buckets.listBuckets(catalog);
      case "CreateBucket":
        return buckets.createBucket(catalog, bucket);
      case "HeadBucket":
        return buckets.headBucket(catalog, bucket, region);
      case "DeleteBucket":
        return buckets.deleteBucket(catalog, bucket);
      case "GetBucketLocation":
        return buckets.getLocation(catalog, bucket, region);
      case "GetBucketVersioning":
        return buckets.getVersioning(catalog, bucket);
      case "PutBucketVersioning":
        return buckets.putVersioning(catalog, bucket, await buckets.readDocument(body));
      case "ListObjects":
        return listObjects(catalog, bucket, query);
      case "ListObjectVersions":
        return listVersions(catalog, bucket, query);
      case "ListMultipartUploads":
        return multipart.listUploads(storage, request);
      case "GetObject":
      case "HeadObject":
        return getObject(storage, request);
      case "PutObject":
        return putObject(storage, request, body);
      case "CopyObject":
        return copyObject(storage, request);
      case "DeleteObject":
        return deleteObject(storage, request);
      case "DeleteObjects":
        return deleteObjects(storage, request, this.authorization);
      case "CreateMultipartUpload":
        return multipart.createUpload(storage, request);
      case "UploadPart":
        return multipart.uploadPart(storage, request, body);
      case "UploadPartCopy":
        return multipart.uploadPartCopy(storage, request);
      case "CompleteMultipartUpload":
        return multipart.completeUpload(storage, request, body);
      case "AbortMultipartUpload":
        return multipart.abortUpload(storage, request);
      case "ListParts":
        return multipart.listParts(storage, request);
    }
  }

  private async send(response: ServerResponse, answer: Answer): Promise<void> {
    const { throttle } = this.faultInjection;
    if (throttle?.firstByteMs !== undefined) await sleep(throttle.firstByteMs);
    response.writeHead(answer.status, answer.headers);
    if (!(answer.body instanceof Readable)) {
      response.end(answer.body);
      return;
    }
    const pacers = this.totalPacer ? [this.totalPacer] : [];
    if (throttle?.streamBytesPerSecond !== undefined) pacers.push(new Pacer(throttle.streamBytesPerSecond));
    if (pacers.length === 0) await pipeline(answer.body, response);
    else await pipeline(paced(answer.body, pacers), response);
  }

  private sendError(
    request: IncomingMessage,
    response: ServerResponse,
    requestId: string,
    error: unknown,
  ): void {
    if (!(error instanceof S3Error)) console.error(error);
    const known = error instanceof S3Error ? error : new S3Error("InternalError", String(error));
    // An unread body is read to its end, so that the client gets to see the answer.
    request.resume();
    const hasBody = request.method !== "HEAD" && known.status !== 304;
    response.writeHead(known.status, {
      ...(hasBody ? { "content-type": "application/xml" } : {}),
      ...known.headers,
    });
    const { code, message, details } = known;
    const Resource = (request.url ?? "").split("?")[0]!;
    response.end(
      hasBody
        ? xmlError({ Code: code, Message: message, ...details, Resource, RequestId: requestId })
        : undefined,
    );
  }
}
