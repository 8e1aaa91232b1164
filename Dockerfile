# unet-exp on a CPU: how to build and run it is in docs/docker.md.
FROM python:3.11-slim-bookworm

# pip reads this variable. Fill it in with the index of PyTorch's CPU builds, which PyTorch's "Get started" page shows
# for Linux, pip and CPU:  docker build --build-arg PIP_EXTRA_INDEX_URL=<address> --tag unet-exp .
# Without it, pip takes the build of PyPI. On x86 that one brings the CUDA libraries along: gigabytes that a CPU never uses.
ARG PIP_EXTRA_INDEX_URL
ARG EXTRAS=sweep,tensorboard,onnx,nifti,dicom,hdf5,zarr,coco
ARG PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/unet-exp
# The dependencies are a layer of their own, which changes of the code leave as it is: an empty package stands in for it.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir conf unet_exp && touch unet_exp/__init__.py \
    && pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"
COPY conf conf
COPY unet_exp unet_exp
RUN pip install --no-cache-dir --no-deps --force-reinstall .

# Any user may write here, as `docker run --user` names one that the image does not know. USER is for libraries that ask
# for such a user's name.
RUN useradd --create-home --home-dir /workspace --uid 1000 unet \
    && mkdir /data /workspace/outputs \
    && chmod -R a+rwX /workspace
ENV HOME=/workspace USER=unet PYTHONUNBUFFERED=1
USER 1000
WORKDIR /workspace
VOLUME ["/data", "/workspace/outputs"]
CMD ["unet-exp-train", "experiment=demo"]
