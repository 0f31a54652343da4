/** Programs of one kind, each with its command. */
interface Programs {
  /** What runs where no name is given. */
  main?: string;
  commands: Readonly<Record<string, string>>;
}

/** What `npm run KIND -- NAME` runs. */
export const PROGRAMS: Readonly<Record<string, Programs>> = {
  example: {
    main: 'superres',
    commands: {
      layers: 'tsx examples/layers/train.ts',
      superres: 'tsx examples/superres/train.ts',
      browser: 'tsx examples/shared/page/serve.ts browser',
      pictures: 'tsx examples/pictures/train.ts',
      'pictures-page': 'tsx examples/shared/page/serve.ts pictures',
      swap: 'tsx examples/swap/swap.ts',
      attention: 'tsx examples/attention/train.ts',
      sentences: 'tsx examples/sentences/train.ts',
      'sentences-page': 'tsx examples/shared/page/serve.ts sentences',
      language: 'tsx examples/language/train.ts',
      'language-page': 'tsx examples/shared/page/serve.ts language',
      preferences: 'tsx examples/language/preferences.ts',
      rewards: 'tsx examples/rewards/train.ts',
      'rewards-page': 'tsx examples/shared/page/serve.ts rewards',
      graph: 'tsx examples/graph/train.ts',
      hand: 'tsx examples/hand/train.ts',
      'hand-page': 'tsx examples/shared/page/serve.ts hand',
      vision: 'tsx examples/vision/train.ts',
      'vision-page': 'tsx examples/shared/page/serve.ts vision',
      onnx: 'tsx examples/onnx/train.ts',
      'onnx-page': 'tsx examples/shared/page/serve.ts onnx',
      sounds: 'tsx examples/sounds/train.ts',
      'sounds-page': 'tsx examples/shared/page/serve.ts sounds',
      whisper: 'tsx examples/whisper/train.ts',
      deploy: 'tsx examples/deploy/train.ts',
      'deploy-page': 'tsx examples/shared/page/serve.ts deploy',
      federated: 'tsx examples/federated/run.ts',
      'federated-page': 'tsx examples/federated/serve.ts',
    },
  },
  bench: {
    main: 'steps',
    commands: {
      steps: 'tsx bench/run.ts',
      encoder: 'tsx bench/encoder.ts',
      federated: 'tsx bench/federated.ts',
      graph: 'tsx bench/graph.ts',
      onnx: 'tsx bench/onnx.ts',
      threads: 'tsx bench/threads/run.ts',
      'threads-page': 'tsx bench/threads/browser.ts',
      launches: 'tsx bench/launches/run.ts',
      page: 'tsx bench/page/serve.ts',
      recipe: 'tsx bench/recipe.ts',
      emoji: 'tsx bench/emoji.ts',
      heads: 'tsx bench/heads.ts',
      methods: 'tsx bench/methods.ts',
      language: 'tsx bench/language.ts',
      'language-memory': 'tsx bench/languageMemory.ts',
      rewards: 'tsx bench/rewards.ts',
      sound: 'tsx bench/sound.ts',
      'qwen3-memory': 'tsx bench/qwen3Memory.ts',
      'streamed-page': 'tsx bench/streamed/browser.ts',
    },
  },
  study: {
    commands: {
      hand: 'tsx examples/hand/study.ts',
      language: 'tsx examples/language/study.ts',
      'language-settings': 'tsx examples/language/settingsStudy.ts',
      onnx: 'tsx examples/onnx/study.ts',
      pictures: 'tsx examples/pictures/study.ts',
      preferences: 'tsx examples/language/preferencesStudy.ts',
      rewards: 'tsx examples/rewards/study.ts',
      sentences: 'tsx examples/sentences/study.ts',
      'sentence-settings': 'tsx examples/sentences/settingsStudy.ts',
      sounds: 'tsx examples/sounds/study.ts',
      vision: 'tsx examples/vision/study.ts',
      whisper: 'tsx examples/whisper/study.ts',
    },
  },
  check: {
    commands: {
      all: 'tsx scripts/checkAll.ts',
      attack: 'tsx test/attack/run.ts',
      backends: 'tsx test/backends/everywhere/run.ts',
      'core-spec': 'tsx test/backends/coreSpec/run.ts',
      encoders: 'tsx test/extensions/transformers/checkEncoders.ts',
      federated: 'tsx test/extensions/federated/checkFlower.ts',
      graphs: 'tsx scripts/graphModels/run.ts',
      keras: 'tsx test/core/keras/checkKeras.ts',
      language: ['checkSmolLM2', 'checkLlamaCpp', 'checkHeaders']
        .map(name => `tsx test/extensions/language/${name}.ts`)
        .join(' && '),
      lastmile: 'tsx test/extensions/onnx/checkLastMile.ts',
      'late-kernels': 'tsx test/backends/parts/run.ts',
      'models-cpu': 'LORA_MODELS=all jest --selectProjects slow -- models.slow',
      mutants: 'tsx scripts/mutants/run.ts',
      onnx: [
        'test/extensions/onnx/checkONNX.ts',
        "test/attack/run.ts --kind 'an ONNX file of large sizes' --files 2000",
        'test/extensions/onnx/checkDrawn.ts',
      ]
        .map(program => `tsx ${program}`)
        .join(' && '),
      package: 'npm run build && publint --strict && attw --pack . --profile node16',
      peft: 'test/python/run.sh',
      quickstart: 'tsx scripts/quickstart.ts --check',
      react: 'tsx test/package/react/run.ts',
      runtimes: 'tsx test/package/runtimes/run.ts',
      site: 'tsx test/docs/site/run.ts',
      sizes: 'tsx scripts/sizes.ts',
      sound: 'tsx test/extensions/sound/checkWhisper.ts',
      tfjs: 'tsx scripts/tfjsVersions.ts',
      types: 'tsx test/package/types/run.ts',
      vision: 'tsx test/extensions/transformers/checkVision.ts',
    },
  },
  setup: {
    commands: {
      'tfjs-node': 'tsx scripts/setupTfjsNode.ts',
      pretrained: 'tsx scripts/setupPretrained.ts',
    },
  },
};
