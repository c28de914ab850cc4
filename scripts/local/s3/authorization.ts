/** S3's side of access control: what a request asks for, and how S3 says no. */
import { type AccessControl, type Asked, accessKeyOf, type Denial } from "../iam/access.ts";
import { askedOfDelete, askedOfS3, askedToMiss } from "../iam/requests.ts";
import { S3Error } from "./error.ts";
import { copySourceOf, type S3Request } from "./request.ts";

export class Authorization {
  readonly #access: AccessControl | null;

  /** Null: everyone may do everything. */
  constructor(access: AccessControl | null) {
    this.#access = access;
  }

  /** Throws AccessDenied, or InvalidAccessKeyId. */
  check(request: S3Request): void {
    const { operation, bucket, query, headers } = request;
    const source = copySourceOf(request);
    const copySource =
      source === null ? {} : { copySource: { bucket: source.bucket, key: source.key.toString() } };
    const asked = askedOfS3({
      operation,
      bucket,
      key: request.key.toString(),
      query,
      headers,
      ...copySource,
    });
    const denial = this.#denialOf(request, asked);
    if (denial !== null) throw refusal(denial);
  }

  /** Why one object of a list delete may not be deleted; null when it may. */
  denialOfDelete(request: S3Request, key: string, versionId: string | undefined): string | null {
    return this.#denialOf(request, [askedOfDelete(request.bucket, key, versionId)])?.message ?? null;
  }

  /** S3 says that an object is absent only to those who may list the bucket. */
  disclosed(request: S3Request, error: unknown): unknown {
    if (!(error instanceof S3Error) || error.code !== "NoSuchKey") return error;
    const denial = this.#denialOf(request, [askedToMiss(request.bucket)]);
    return denial === null ? error : refusal(denial);
  }

  #denialOf({ headers, query }: S3Request, asked: readonly Asked[]): Denial | null {
    return this.#access?.denialOf(accessKeyOf(headers.authorization, query), asked) ?? null;
  }
}

const refusal = ({ kind, message }: Denial): S3Error =>
  kind === "unknownKey" ? new S3Error("InvalidAccessKeyId", message) : new S3Error("AccessDenied", message);
