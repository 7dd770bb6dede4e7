/** The GIST codec as the node sees it (RFC 5971 appendix A). */
export { decodeGist } from "./decode.js";
export { encodeGist } from "./encode.js";
export { errorFor } from "./error-reply.js";
export {
  ERROR_CLASS,
  ERROR_CODE,
  errorClass,
  type GistFault,
  GistWireError,
  HEADER_ERROR,
  MRI_ERROR,
  OBJECT_TYPE_ERROR,
  OBJECT_VALUE_ERROR,
} from "./errors.js";
export { checkMri, flipMri, mriKey } from "./mri.js";
export { newSessionId, sessionIdBytes, sessionIdFromBytes } from "./session-id.js";
export { MAX_OBJECT_VALUE } from "./tlv.js";
