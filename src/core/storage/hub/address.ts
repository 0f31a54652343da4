import {LoRAError, show} from '../../../platform/errors';

/** What `hf://org/name[@revision][/path]` names. */
export interface HubAddress {
  /** `org/name`. */
  readonly repo: string;
  /** A branch, tag, pull request (`refs/pr/1`) or commit. */
  readonly revision: string;
  /** A file, a folder, or `''` for the whole repository. */
  readonly path: string;
}

const FORM = /^hf:\/\/([^/@]+\/[^/@]+)(?:@(refs\/(?:pr|convert)\/[^/]+|[^/]+))?(?:\/(.*))?$/is;
/** Characters that a server or a file system may read as something else than a part of a name. */
const UNSAFE = /[\\%?#]|\p{Cc}/u;

/** @throws LoRAError if it is not a valid address. */
export function parseHubAddress(address: string): HubAddress {
  const [, repo, revision = 'main', path = ''] = FORM.exec(address) ?? [];
  const names = [repo ?? '', revision, path.replace(/\/$/, '') || 'folder'].flatMap(text => text.split('/'));
  const wrong = names.find(name => ['', '.', '..'].includes(name) || UNSAFE.test(name));
  if (repo === undefined || !/^[\w./-]+$/.test(repo) || wrong !== undefined) {
    throw new LoRAError(
      `${show(address.slice(0, 200))} is not an address of the form hf://org/name, hf://org/name/file or ` +
        "hf://org/name@revision/file. Names must not be '.' or '..', or contain a backslash, %, ? or #.",
    );
  }
  return {repo, revision, path: path.replace(/\/$/, '')};
}

/** A path in a URL. */
export function encodedPath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

export function isCommit(revision: string): boolean {
  return /^[\da-f]{40}$/.test(revision);
}
