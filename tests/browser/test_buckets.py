"""A tenant's bucket is set and tested by a person, who is told what is wrong with it."""

from storage.models import OssConfig, StoredObject
from tests.browser.conftest import log_in


def test_a_bucket_is_tested(open_page, live_waule, acme, root, shot):
    OssConfig.objects.create(tenant=acme, mode="custom", driver="s3", bucket="shelf", access_key_id="id")
    StoredObject.objects.create(
        tenant=acme, object_key="tenants/a/b.png", size_bytes=2048, driver="local", waiting_since=root.date_joined
    )
    page = log_in(open_page(locale="zh-CN"))
    page.goto("/admin/storage/storedobject/")
    page.locator("#result_list", has_text="等待存储桶").wait_for()
    shot(page, "stored-objects")
    page.click("#nav-sidebar a:has-text('存储桶')")
    page.click("#result_list a:has-text('Acme')")
    shot(page, "bucket", full_page=True)
    page.click("a:has-text('测试存储桶')")
    shot(page, "bucket-test")
    page.click("#money-form button[type=submit]")
    page.get_by_text("存储桶不可用：缺少存储桶的某项设置").wait_for()
    shot(page, "bucket-tested")
