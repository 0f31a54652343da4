// Data for docs/what-import-changes.md and the test that compares it with what really changes. Nothing at run time
// reads it.

/** A change that this library makes to TensorFlow.js outside of its own objects. */
export interface Change {
  /** What is changed. */
  readonly what: string;
  /** The file of `src` that changes it. */
  readonly by: string;
  readonly why: string;
  /** From when, and for how long. */
  readonly lasts: string;
  /** How to be without it. */
  readonly without: string;
  /**
   * What differs in the globals meanwhile: `+` is new, `≠` is replaced, `*` stands for any name. Left out where the
   * change is none of the globals. Of several rows that fit, the first counts.
   */
  readonly globals?: readonly string[];
}

const NO_IMPORT = 'only by not importing the library, in a page, worker or process of its own';

/** All of them, those of an import first. */
export const CHANGES: readonly Change[] = [
  {
    what: 'The method `setupRegisteredKernels` of `tf.engine()` is wrapped.',
    by: 'backends/shared/lifecycle.ts',
    why:
      'Kernels are put right when a backend is set, in whichever order the packages are imported. tfjs tells ' +
      'nobody that one is.',
    lasts: 'from the import on',
    without:
      "`Reflect.deleteProperty(tf.engine(), 'setupRegisteredKernels')`: backends that are set later keep their " +
      'own kernels',
    globals: ['+ engine.setupRegisteredKernels', '+ engine.Symbol(*)'],
  },
  {
    what: 'In **Node** tfjs gets a handler for `file://`, with which `model.save` and `tf.loadLayersModel` reach the disk.',
    by: 'node/fileRouter.ts',
    why:
      'Plain tfjs has none in Node. It answers only where no other one does: that of tfjs-node counts, whichever is ' +
      'loaded first.',
    lasts: 'from the import on',
    without: 'register a handler of your own for `file://`, before or after',
    globals: ['≠ router to save file://', '≠ router to load file://'],
  },
  {
    what: 'Kernels and gradients whose names begin with `TfjsLoRA` are registered with the current backend.',
    by: 'platform/tfjs/lazyOp.ts',
    why:
      'A registered kernel is asked for one gradient at a time. `tf.customGrad` computes all, those of frozen ' +
      'weights too.',
    lasts: 'from the first time that a layer computes with one on',
    without: 'they run for layers of this library alone; `removeLoRA` and `mergeLoRA` give stock layers back',
    globals: ['+ kernel *_TfjsLoRA*', '+ gradient TfjsLoRA*'],
  },
  {
    what:
      'On **wasm** kernels that training needs are added, some that give wrong numbers (`MaxPoolGrad`) ' +
      "corrected, and slow ones replaced: `tf.getKernelsForBackend('wasm')` has them, each with what it replaced " +
      "under `Symbol.for('tfjs-lora.kernel')`.",
    by: 'backends/shared/registration.ts',
    why: 'Without them wasm cannot train a convolution. `predict` of a stock model gives the same bits as before.',
    lasts: 'from when the backend is set, or from the import on if it is',
    without: NO_IMPORT,
    globals: [
      '+ kernel wasm_Conv2DBackpropFilter',
      '+ kernel wasm_DepthwiseConv2dNativeBackprop*',
      '+ kernel wasm_UnsortedSegmentSum',
      '+ kernel wasm_Relu*Grad',
      '≠ kernel wasm_*',
    ],
  },
  {
    what:
      'On **cpu** the kernels `FusedBatchNorm`, `MaxPool3DGrad`, `ResizeBilinearGrad` and ' +
      '`ResizeNearestNeighborGrad` are replaced.',
    by: 'backends/shared/registration.ts',
    why:
      'The first normalizes channels-first images by the wrong statistics; gradients are wrong for oblong windows, ' +
      'for several images and for images that are not square.',
    lasts: 'from when the backend is set, or from the import on if it is',
    without: NO_IMPORT,
    globals: [
      '≠ kernel cpu_FusedBatchNorm',
      '≠ kernel cpu_MaxPool3DGrad',
      '≠ kernel cpu_ResizeBilinearGrad',
      '≠ kernel cpu_ResizeNearestNeighborGrad',
    ],
  },
  {
    what:
      'On **tensorflow** the kernels `MatMul`, `ReluGrad`, `Relu6Grad`, `SigmoidGrad`, `TanhGrad` and `Transform` ' +
      'are added, with a gradient of `MatMul`; `Conv2DBackpropFilter` is replaced.',
    by: 'backends/node/tensorflow.ts',
    why:
      'TensorFlow has them; tfjs-node does not pass them on. Only this library calls them, but for `Transform`, ' +
      'which is that of `tf.image.transform`. The stock gradient of a kernel ' +
      '[damages the heap](backends.md#what-differs).',
    lasts: 'from when the backend is set, or from the import on if it is',
    without: 'nothing of tfjs calls the others',
    globals: ['+ kernel tensorflow_*', '≠ kernel tensorflow_Conv2DBackpropFilter', '+ gradient MatMul'],
  },
  {
    what: 'Gradients are added of `Conv3DBackpropInputV2` (`tf.conv3dTranspose`) and `DepthToSpace`.',
    by: 'backends/backends.ts',
    why: 'tfjs has none, on any backend.',
    lasts: 'from the import on',
    without: NO_IMPORT,
    globals: ['+ gradient Conv3DBackpropInputV2', '+ gradient DepthToSpace'],
  },
  {
    what: 'A callback stands in every `fit`, before those of the user.',
    by: 'core/model/fits.ts',
    why: 'It tells a training step with which adapter the fit began, so that no step trains the wrong one in silence.',
    lasts: 'from the import on, by `tf.registerCallbackConstructor`',
    without: 'it does nothing in a model without layers of this library; `model.trainOnBatch` calls no callbacks',
    globals: ['+ callback FitWatch'],
  },
  {
    what: 'Another callback stands in every `fit`, before those of the user.',
    by: 'core/training/epochMeans.ts',
    why: 'tfjs takes the means of an epoch over the batches of this process alone, also where a run is resumed in it.',
    lasts: 'from the first call of `checkpoint` or `resume` on, by `tf.registerCallbackConstructor`',
    without: 'do not call them; it does nothing in other fits',
    globals: ['+ callback EpochMeans'],
  },
  {
    what: 'Classes of layers and optimizers are registered as `tfjs-lora>LoRADense` and so on.',
    by: 'platform/tfjs/configs.ts',
    why: '`tf.loadLayersModel` then loads adapted models.',
    lasts: 'from the import on, by `tf.serialization.registerClass`',
    without: 'nothing else has these names; those of earlier files, `LoRADense`, are taken where they are free',
    globals: ['+ class *'],
  },
  {
    what:
      '**`tfjs-lora/graph`** adds 17 gradients that tfjs lacks (`GatherNd`, `ScatterNd`, `SparseToDense`, ' +
      '`TensorScatterUpdate`, `TopK`, `StridedSlice`, `Einsum`, `Cumprod`, `CropAndResize`, ' +
      'comparisons), corrects 12 (`AvgPool`, `BatchMatMul`, `Maximum`, `Minimum`, `SquaredDifference`, ' +
      '`MirrorPad`, `ResizeBilinear`, `ResizeNearestNeighbor`, `Cumsum`, `Prod`, `Tile`, `Unpack`), corrects ' +
      'the kernels `Cumsum` and `Cumprod`, on cpu and wasm `StridedSlice`, and computes `Einsum` by products on ' +
      'cpu, wasm (which has none), webgl and webgpu.',
    by: 'extensions/graph/gradients/graphGradients.ts',
    why:
      'Published graphs are made of these. The stock gradients that are corrected ignore broadcasting, mirrored ' +
      'entries, windows at the border, axes counted from the end, or ranks above 4. The stock `Einsum` takes the ' +
      'memory of all axes together.',
    lasts: 'from the import of `tfjs-lora/graph` on',
    without: 'do not import `tfjs-lora/graph`',
    globals: [
      '+ kernel wasm_Einsum',
      ...['GatherNd', 'ScatterNd', 'SparseToDense', 'TensorScatterUpdate', 'TopK', 'StridedSlice'].map(
        of => `+ gradient ${of}`,
      ),
      ...['Einsum', 'Cumprod', 'CropAndResize', 'LogicalNot', 'LogicalAnd', 'LogicalOr'].map(of => `+ gradient ${of}`),
      ...['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual'].map(of => `+ gradient ${of}`),
      ...['AvgPool', 'BatchMatMul', 'Maximum', 'Minimum', 'SquaredDifference'].map(of => `≠ gradient ${of}`),
      ...['MirrorPad', 'ResizeBilinear', 'ResizeNearestNeighbor', 'Cumsum', 'Prod', 'Tile', 'Unpack'].map(
        of => `≠ gradient ${of}`,
      ),
    ],
  },
  {
    what: '`tf.layers.Layer.prototype.addWeight` is replaced.',
    by: 'platform/tfjs/weightLimit.ts',
    why:
      'A model that is adapted, merged or restored is built on the buffers of the old one, without memory for a ' +
      'second. The layers of a head that comes in a file are built with zeros, and no larger than the file: no ' +
      'config tells how large a weight will be.',
    lasts: 'while such layers are built, which is synchronous',
    without: 'adapted models load by `tf.loadLayersModel` without it',
    globals: ['≠ tf.layers.Layer.prototype.addWeight'],
  },
  {
    what: 'The entries of `tf.serialization.SerializationMap` are wrapped.',
    by: 'platform/tfjs/keepingNames.ts',
    why: 'Custom layers whose constructor ignores its config would lose their names before they are called.',
    lasts: 'while a model is rebuilt from its config (apply, merge, remove), which is synchronous',
    without: 'adapted models load by `tf.loadLayersModel` without it',
    globals: ['≠ class *'],
  },
  {
    what: 'Variables of the layers of an adapted model read as other tensors, and are not written to.',
    by: 'platform/tfjs/weights.ts',
    why: 'A layer of any class computes with the updated weight, and keeps its statistics while it is frozen.',
    lasts: 'while such a layer is called',
    without: 'they are variables of copies: the layers of the model that was passed in are never touched',
  },
  {
    what: 'Variables of an adapted model get values of another shape, or refuse to be read.',
    by: 'platform/tfjs/weights.ts',
    why: '`setAdapter` takes an adapter of another rank or method without compiling the model again.',
    lasts: 'until another adapter is set',
    without: 'apply the adapter to the base instead: `applyLoRA(base, adapter)`',
  },
  {
    what: 'Stock recurrent cells in an adapted model have a method `call` of their own.',
    by: 'core/layers/recurrentCells.ts',
    why: 'The stock method records a gradient of frozen weights at every step of a sequence.',
    lasts: 'as long as the model',
    without: 'they are copies; `removeLoRA` and `mergeLoRA` give stock cells',
  },
  {
    what: 'The tape of tfjs is read, and put back after a gradient that is taken inside of a backward pass.',
    by: 'platform/tfjs/engine.ts',
    why: 'No gradient is prepared for what nothing trainable leads to; checkpointed blocks are computed again.',
    lasts: 'while a layer of this library computes',
    without: 'stock layers alone do not need it',
  },
  {
    what: 'Tensors that tfjs keeps until the end of a backward pass are freed in the midst of it.',
    by: 'platform/tfjs/heldTensors.ts',
    why: 'A step takes less memory: what an operation of this library kept is of no use once its gradients are taken.',
    lasts: 'while a backward pass goes through layers of this library',
    without: 'only what these operations made is freed',
  },
  {
    what: 'Some results belong to a backend that is in no list and computes them when they are read.',
    by: 'backends/shared/deferred.ts',
    why:
      'A convolution waits for the normalization and the relu after it, so that the three are computed in one. On ' +
      'webgl variables that an optimizer of this library has stepped are parts of one texture, until something needs ' +
      'one.',
    lasts: 'while an adapted model trains; on webgl until a variable is read by another kernel',
    without: '`tensor.dataSync()` and every kernel read them as usual; stock optimizers leave variables as they are',
  },
  {
    what:
      'On wasm a module of this library works in the memory of the backend, with threads of its own where tfjs has ' +
      'some.',
    by: 'backends/wasm/module/native.ts',
    why:
      'Gradients in several threads, and in half the time. The module is tried out first, and left where its ' +
      'numbers differ.',
    lasts: 'from the first kernel that uses it until the backend is disposed',
    without: '`loraKernels()` says whether it is used; a policy without `script-src blob:` keeps workers away',
  },
  {
    what: 'Numbers of tensors are moved to another backend by the method `moveData` of the engine.',
    by: 'platform/tfjs/move.ts',
    why: 'tfjs moves a tensor when something needs it, and reads it at once for that.',
    lasts: 'during a call of `moveTo`',
    without: 'do not call it',
  },
  {
    what: 'On webgl and webgpu the `dataMover` of the table of tensors is our own.',
    by: 'platform/tfjs/handOver.ts',
    why:
      'What is put off is computed on the card when something else needs it. tfjs would read its numbers and upload ' +
      'them again.',
    lasts: 'from the first such tensor on; tensors of others are moved as before',
    without: 'stop training, or take another backend',
  },
  {
    what:
      'The webgl and webgpu backends have methods `read`, `readSync`, `runWebGLProgram` and ' +
      '`runWebGPUProgram` of their own.',
    by: 'platform/tfjs/guards.ts',
    why:
      'Once the graphics card is lost, tfjs waits without end or takes zeros for its numbers. These refuse them, ' +
      'and reads at once from webgpu that give zeros.',
    lasts: 'from when the backend is set until it is removed',
    without: NO_IMPORT,
  },
  {
    what:
      "On webgl and webgpu a matrix in blocks stays in the page's memory when it is brought to the card. On webgl " +
      'its form on the card is kept where tfjs keeps the parts of complex numbers.',
    by: 'platform/tfjs/cardData.ts',
    why:
      'tfjs gives up the numbers, and to read them of a card takes long or a promise. The form is freed with the ' +
      'matrix.',
    lasts: 'as long as the tensor of the blocks',
    without: 'do not import `tfjs-lora/quantized` or `tfjs-lora/language`',
  },
  {
    what: 'On wasm the function `_malloc` of the compiled module throws where the memory has no room.',
    by: 'platform/tfjs/guards.ts',
    why: 'tfjs takes the place 0 that it is given then, and overwrites other tensors.',
    lasts: 'from when the backend is set until it is removed',
    without: NO_IMPORT,
  },
  {
    what:
      'On webgpu a program passes for one of tfjs and has a pipeline of its own, and buffers are copied by the ' +
      'private command encoder.',
    by: 'backends/webgpu/program.ts',
    why:
      'The public `runWebGPUProgram` takes programs of one result; ours have several. tfjs copies no part of a ' +
      'buffer.',
    lasts: 'while such a program is launched; those of tfjs are not touched',
    without: 'they are tried out first, and left where the numbers differ',
  },
  {
    what: 'A model is marked as training, and has another optimizer.',
    by: 'platform/tfjs/training.ts',
    why:
      'So tfjs refuses a second fit beside `fitOnFeatures` and `findLearningRate`; the latter tries rates with ' +
      'an optimizer of its own.',
    lasts: 'while one of these two runs',
    without: 'do not call them',
  },
  {
    what: 'The slots and counters of an optimizer are set.',
    by: 'core/training/resetOptimizer.ts',
    why: 'An optimizer starts again, or goes on where a checkpoint left off, without compiling the model.',
    lasts: 'by a call of `resetOptimizer` or `resume`',
    without: 'do not call them',
  },
  {
    what: 'A model takes targets that are numbers of classes.',
    by: 'platform/tfjs/training.ts',
    why: 'tfjs takes these for a loss from probabilities alone.',
    lasts: 'from `compileCrossEntropy` until the model is compiled again',
    without: 'compile with a loss of your own, and one-hot targets',
  },
];
