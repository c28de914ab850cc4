/** What S3's answers say when a request fails: which of them is an outcome, and which error the others become (failure.ts). */
import type { _Error as S3DeleteError } from "@aws-sdk/client-s3";
import { SiltstoneError } from "../core/model/errors.ts";
import { deniedKeyAction, failure, statusOf } from "./failure.ts";

/** Keys that the message about a failed delete shows. */
const failuresShown = 5;

/** Without s3:ListBucket, S3 answers 403 instead of 404 for a key that is not there. */
const permissions = {
  GetObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  HeadObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  PutObject: "s3:PutObject, and s3:GetObject for a conditional write",
  CopyObject: "s3:GetObject and s3:PutObject",
  ListObjectsV2: "s3:ListBucket",
  DeleteObjects: "s3:DeleteObject",
} as const;
export type S3Operation = keyof typeof permissions;

/** A bucket that does not exist answers 404 too, and must not look like a missing key. */
export const isAbsent = (error: unknown): boolean =>
  statusOf(error) === 404 && !(error instanceof Error && error.name === "NoSuchBucket");

/** Neither a clock nor credentials are the reason: those have names of their own. And no key: what is encrypted is there. */
export const isDenied = (error: unknown): boolean =>
  error instanceof Error && error.name === "AccessDenied" && deniedKeyAction(error.message) === null;

/** 409 is a writer at the same moment. */
export const isPreconditionFailed = (error: unknown): boolean =>
  statusOf(error) === 412 || statusOf(error) === 409;

/** Asking for it again brings the same answer. */
export function isRefusal(error: unknown): boolean {
  const status = statusOf(error);
  return status === 400 || status === 403;
}

/** The error of a request about a key or a prefix. */
export function s3Failure(
  error: unknown,
  { operation, subject }: { readonly operation: S3Operation; readonly subject: string },
): SiltstoneError {
  return failure(error, {
    call: `S3 ${operation}`,
    subject,
    writes: operation === "PutObject" || operation === "CopyObject" || operation === "DeleteObjects",
    permission: permissions[operation],
  });
}

/** The error of a request that was answered, and says that some of its keys are still there. */
export function deleteFailure(bucket: string, failed: readonly S3DeleteError[]): SiltstoneError {
  const shown = failed
    .slice(0, failuresShown)
    .map(({ Key, Code, Message }) => `${Key}: ${Code} ${Message ?? ""}`);
  const denied = failed.some(({ Code }) => Code === "AccessDenied");
  const hint = denied ? `; the role needs ${permissions.DeleteObjects} on this bucket` : "";
  return new SiltstoneError(
    "uncertain",
    `S3 DeleteObjects s3://${bucket}: ${failed.length} keys were not deleted${hint}: ${shown.join("; ")}`,
  );
}
