const Environment = require('../../test/environment.cjs');
const vm = require('node:vm');

/*
 * The environment of tests of mutants. It puts other code in the place of files, notes which pieces of them each test
 * runs, leaves tests out that run no mutated piece, and ends at the first failure.
 */
const shared = globalThis.mutants;
const {compileFunction} = vm;

vm.compileFunction = (code, parameters, options = {}) =>
  compileFunction(shared.codes.get(options.filename) ?? code, parameters, options);

module.exports = class extends Environment {
  constructor(config, context) {
    super(config, context);
    if (shared.failure !== undefined) {
      throw new Error('A test has failed already.');
    }
    this.path = context.testPath;
    this.ended = false;
    this.start = process.cpuUsage().user;
    shared.onFile(this.path);
  }

  async handleTestEvent(event, state) {
    if (shared.mutants !== undefined) {
      this.ended ||= event.name === 'run_finish';
      this.switcher ??= new Switcher(this.path, (this.global.mutant ??= {id: -1}));
      this.switcher.handle(event, state.rootDescribeBlock);
      return;
    }
    if (event.name === 'run_start') {
      // A test file runs the others' code too while it is loaded.
      this.take('');
      const names = shared.tests.get(this.path);
      if (names != null) {
        leaveOut(state.rootDescribeBlock, names);
      }
    } else if (event.name === 'test_start') {
      this.take('');
      if (shared.failure !== undefined) {
        event.test.mode = 'skip';
      }
    } else if (event.name === 'test_done') {
      this.take(nameOf(event.test));
      if (event.test.errors.length > 0) {
        shared.failure ??= {path: this.path, name: nameOf(event.test), message: String(event.test.errors[0])};
      }
    } else if (event.name === 'run_finish') {
      this.ended = true;
    }
  }

  async teardown() {
    this.take('');
    shared.onFileEnd?.(this.path, (process.cpuUsage().user - this.start) / 1e6);
    if (!this.ended) {
      shared.failure ??= {path: this.path, name: '', message: 'The file cannot be loaded.'};
    }
    await super.teardown();
  }

  /** Notes what has run since the last time. */
  take(name) {
    if (shared.onRun === undefined) {
      return;
    }
    for (const [file, ran] of Object.entries(this.global.ranUnits ?? {})) {
      if (ran.includes(1)) {
        shared.onRun(name, file, ran);
        ran.fill(0);
      }
    }
  }
};

/** Runs the tests of each mutant in a copy of the file's tests. */
class Switcher {
  constructor(path, mutant) {
    this.path = path;
    this.mutant = mutant;
    this.isFirst = true;
  }

  handle(event, root) {
    if (event.name === 'run_start') {
      this.hooks = root.hooks.filter(({type}) => type === 'beforeAll' || type === 'afterAll');
      this.tests = root.children;
      root.hooks = root.hooks.filter(hook => !this.hooks.includes(hook));
      root.children = shared.mutants.map(([id, names]) => this.copy(root, id, names));
    } else if (event.name === 'run_describe_start' && event.describeBlock.parent === root) {
      const {id, isControl} = event.describeBlock;
      this.failure = undefined;
      this.mutant.id = isControl ? -1 : id;
      if (!isControl) {
        shared.onMutant(id);
      }
    } else if (event.name === 'test_start' && this.failure !== undefined) {
      event.test.mode = 'skip';
    } else if (event.name === 'test_done' && event.test.errors.length > 0) {
      const error = event.test.errors[0];
      const message = String(Array.isArray(error) ? error[0] : error);
      this.failure ??= {path: this.path, name: this.nameOf(event.test), message};
    } else if (event.name === 'run_describe_finish' && event.describeBlock.parent === root) {
      this.conclude(event.describeBlock, root);
    }
  }

  /** Tells what came of a mutant. Where a test fails, it has to pass without the mutant. */
  conclude(block, root) {
    const {failure} = this;
    this.mutant.id = -1;
    if (block.isControl) {
      const isClean = failure === undefined;
      const {id, isFirst} = block;
      shared.onVerdict(isClean ? {id, result: 'failed', failure: block.failure} : {id, result: 'unclear', isFirst});
      if (!isClean) {
        root.children.splice(root.children.indexOf(block) + 1);
      }
    } else if (failure === undefined) {
      shared.onVerdict({id: block.id, result: 'passed'});
    } else {
      const control = this.copy(root, block.id, new Set([failure.name]));
      Object.assign(control, {isControl: true, isFirst: this.isFirst, failure});
      root.children.splice(root.children.indexOf(block) + 1, 0, control);
    }
    this.isFirst = false;
  }

  copy(root, id, names) {
    const copyOf = (block, parent, children) => {
      const copied = {...block, parent, tests: []};
      copied.children = children.flatMap(child => {
        if (child.type === 'describeBlock') {
          const inner = copyOf(child, copied, child.children);
          return inner.children.length > 0 ? [inner] : [];
        }
        const test = {...child, parent: copied, errors: [], retryReasons: []};
        test.unhandledRejectionErrorByPromise = new Map();
        return names === null || names.has(nameOf(child)) ? [test] : [];
      });
      return copied;
    };
    const copied = copyOf({...root, name: `mutant ${id}`, hooks: this.hooks}, root, this.tests);
    return Object.assign(copied, {id});
  }

  /** The name without that of the copy. */
  nameOf(test) {
    return nameOf(test).replace(/^mutant \d+ /, '');
  }
}

function leaveOut(block, names) {
  for (const child of block.children) {
    if (child.type === 'describeBlock') {
      leaveOut(child, names);
    } else if (!names.has(nameOf(child))) {
      child.mode = 'skip';
    }
  }
}

function nameOf(test) {
  const names = [];
  for (let each = test; each !== undefined && each.name !== 'ROOT_DESCRIBE_BLOCK'; each = each.parent) {
    names.unshift(each.name);
  }
  return names.join(' ');
}
