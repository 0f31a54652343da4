import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {existsSync, mkdirSync, mkdtempSync, openSync, writeFileSync} from 'node:fs';
import {connect, createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {delimiter, join} from 'node:path';
import {setTimeout as pause} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {FLOWER_VERSION} from '../../src/extensions/federated/calls';

// The server: Flower in a virtual environment of its own, which npm cannot install.

const HERE = fileURLToPath(new URL('.', import.meta.url));
const OUTPUT = join(HERE, 'output');
const VENV = join(OUTPUT, 'venv');

/** Makes the environment where it is missing. @throws Error that says what to install, if there is no Python. */
export function installFlower(log: (line: string) => void): void {
  const python = ['python3', 'python'].find(name =>
    works(name, ['-c', 'import sys, venv; assert sys.version_info >= (3, 10)']),
  );
  if (python === undefined) {
    throw new Error('The server of this example is Flower, which needs Python 3.10 or newer with its module venv.');
  }
  const flwr = join(VENV, 'bin/flwr');
  if (!works(join(VENV, 'bin/python'), ['-c', `import flwr; assert flwr.__version__ == "${FLOWER_VERSION}"`])) {
    log(`Installing Flower ${FLOWER_VERSION} in ${VENV} …`);
    mkdirSync(OUTPUT, {recursive: true});
    execFileSync(python, ['-m', 'venv', VENV], {stdio: 'inherit'});
    execFileSync(join(VENV, 'bin/pip'), ['install', '--quiet', `flwr==${FLOWER_VERSION}`], {stdio: 'inherit'});
  }
  if (!existsSync(flwr)) {
    throw new Error(`${flwr} is missing after the installation of Flower.`);
  }
}

function works(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, {stdio: 'ignore'});
    return true;
  } catch {
    return false;
  }
}

/** Runs Python in that environment, in the folder of the server. */
export function runPython(...args: string[]): void {
  execFileSync(join(VENV, 'bin/python'), args, {cwd: join(HERE, 'server'), stdio: 'inherit'});
}

/** What a run of the server app is asked for. */
export interface RunConfig {
  strategy: 'mean' | 'exact' | 'secure';
  rounds: number;
  nodes: number;
  /** Paths of the adapter that it starts from, and of the one that it writes. */
  adapter: string;
  result: string;
  /** How the names of tensors end that do not travel. */
  frozen: string;
  /** Whether the nodes measure the common adapter after each round. */
  evaluate: boolean;
  /** The largest norm of an update, and how much noise their mean gets, in norms: texts of numbers. */
  clip?: string;
  noise?: string;
}

/** How a SuperLink is started. */
export interface SuperLinkOptions {
  /** Whether it keeps its state in a file, so that `restart` may be called in the middle of a run. */
  isLasting?: boolean;
  /** Whether it speaks TLS, by a certificate of its own, and admits those nodes alone whose keys were registered. */
  isClosed?: boolean;
}

/** A SuperLink on this machine. */
export class SuperLink {
  readonly url: string;
  private readonly environment: NodeJS.ProcessEnv;
  private readonly processes = new Map<string, ChildProcess>();

  private constructor(
    private readonly port: number,
    /** Its own, so that two examples may run at the same time: settings and logs. */
    private readonly folder: string,
    private readonly options: SuperLinkOptions,
  ) {
    this.url = `${options.isClosed ? 'https' : 'http'}://127.0.0.1:${port}`;
    this.environment = {
      ...process.env,
      FLWR_HOME: folder,
      FLWR_TELEMETRY_ENABLED: '0',
      PATH: [join(VENV, 'bin'), process.env.PATH].join(delimiter),
    };
    const trust = options.isClosed ? `root-certificates = "${this.certificate}"` : 'insecure = true';
    const here = `[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:${port}"\n${trust}\n`;
    writeFileSync(join(folder, 'config.toml'), here);
  }

  /** Starts one, and waits until it answers. */
  static async start(options: SuperLinkOptions = {}): Promise<SuperLink> {
    const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-flower-'));
    if (options.isClosed) {
      runPython('certificate.py', folder);
    }
    const link = new SuperLink(await freePort(), folder, options);
    await link.begin();
    if (options.isLasting) {
      // Who runs the server app has to outlive the SuperLink.
      link.spawn('flower-superexec', ['--insecure', '--runtime-api-address', `127.0.0.1:${link.port}`]);
    }
    return link;
  }

  /** Kills it, and starts it again with the state that it had. */
  async restart(): Promise<void> {
    const former = this.processes.get(SUPERLINK)!;
    const end = once(former, 'exit');
    former.kill('SIGKILL');
    await end;
    await this.begin();
  }

  /** The file of the certificate that the nodes have to trust, where it speaks TLS. */
  get certificate(): string {
    return join(this.folder, 'certificate.pem');
  }

  private async begin(): Promise<void> {
    const {isLasting, isClosed} = this.options;
    const key = join(this.folder, 'key.pem');
    const secured = ['--ssl-certfile', this.certificate, '--ssl-ca-certfile', this.certificate, '--ssl-keyfile', key];
    const superLink = this.spawn(SUPERLINK, [
      ...['--host', '127.0.0.1', '--port', String(this.port)],
      ...(isClosed ? [...secured, '--enable-supernode-auth'] : ['--insecure']),
      ...(isLasting ? ['--database', join(this.folder, 'state.db'), '--isolation', 'process'] : []),
    ]);
    for (let tries = 0; tries < 240; tries++) {
      if (superLink.exitCode !== null) {
        throw new Error(`The SuperLink ended. Its log is ${this.logOf(SUPERLINK)}.`);
      }
      if (await isListening(this.port)) {
        return;
      }
      await pause(250);
    }
    throw new Error('The SuperLink does not answer.');
  }

  private spawn(program: string, args: string[]): ChildProcess {
    const log = openSync(this.logOf(program), 'a');
    const child = spawn(program, args, {
      env: this.environment,
      stdio: ['ignore', log, log],
      detached: true, // it has children of its own, which end with its group
    });
    this.processes.set(program, child);
    return child;
  }

  private logOf(program: string): string {
    return join(this.folder, `${program}.log`);
  }

  /** Admits the node whose public key is in a file. */
  async register(publicKey: string): Promise<void> {
    await this.flwr('supernode', 'register', publicKey);
  }

  /** Runs the server app to its end. */
  async run(config: RunConfig): Promise<void> {
    const said = Object.entries(config)
      .map(([name, value]) => `${name}=${typeof value === 'string' ? JSON.stringify(value) : String(value)}`)
      .join(' ');
    const {isLasting} = this.options;
    const follow = isLasting ? [] : ['--stream']; // what follows a run ends with the SuperLink
    await this.flwr('run', join(HERE, 'server'), ...follow, '--run-config', said);
    for (let seconds = 0; isLasting && !existsSync(config.result) && seconds < LONGEST_RUN; seconds++) {
      await pause(1000);
    }
    if (!existsSync(config.result)) {
      throw new Error(`The run failed. Its log is ${this.logOf('flwr')}.`);
    }
  }

  private async flwr(...args: string[]): Promise<void> {
    const child = this.spawn('flwr', args);
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) {
      throw new Error(`flwr ${args[0]} failed. Its log is ${this.logOf('flwr')}.`);
    }
  }

  /** The number of its process. */
  get pid(): number {
    const {pid} = this.processes.get(SUPERLINK)!;
    if (pid === undefined) {
      throw new Error(`${SUPERLINK} cannot be started.`);
    }
    return pid;
  }

  /** Ends it and its children. */
  stop(): void {
    for (const {pid} of this.processes.values()) {
      try {
        process.kill(-pid!, 'SIGTERM');
      } catch {
        // it has ended
      }
    }
  }
}

const SUPERLINK = 'flower-superlink';

/** Seconds after which a run has failed of which nothing is heard. */
const LONGEST_RUN = 300;

function isListening(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const {port} = server.address() as {port: number};
      server.close(() => resolve(port));
    });
  });
}
